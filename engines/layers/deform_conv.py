"""Modulated deformable convolution: Deformable ConvNets v2, Zhu et al., CVPR 2019, Eq. 1.

    y(p) = b + Σ_k  w_k · m_k(p) · x(p + p_k + Δp_k(p))

``x`` is read bilinearly, with zeros beyond the map, so a sample is 0 unless ``-1 < y < H`` and ``-1 < x < W``. Layout
of the maps, as in the DCNv2 extensions and in ONNX's ``DeformConv``: for offset group ``g`` and kernel point
``k = i·kw + j`` the offset channels ``2(gK + k)`` and ``2(gK + k) + 1`` are Δy and Δx in pixels of ``x``, and the
modulation channel is ``gK + k``. No activation is applied to the modulation here: papers differ (DCNv2 takes a sigmoid,
DCPose and the released FAMI-Pose none). Under autocast everything is computed in float32.

It is registered as ``torch.ops.posestream.deform_conv2d``, so that it exports as one node and a device can dispatch to
a kernel of its own. The reference below gathers with ``grid_sample``: no loop over pixels, differentiable in all
inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from engines.layers.fp32 import no_autocast

Pair = int | tuple[int, int]


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int]:
    """Height and width of the output, as for an ordinary convolution."""
    h, w = ((size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1))
    return h, w


def sampling_points(
    offset: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    offset_groups: int,
) -> tuple[Tensor, Tensor]:
    """Rows and columns to sample, in pixels of the input: two tensors (N, G, K, oh, ow)."""
    n, _, oh, ow = offset.shape
    kh, kw = kernel
    count = partial(torch.arange, dtype=offset.dtype, device=offset.device)
    rows = count(oh) * stride[0] - padding[0]
    columns = count(ow) * stride[1] - padding[1]
    i = count(kh).repeat_interleave(kw) * dilation[0]
    j = count(kw).repeat(kh) * dilation[1]
    delta = offset.reshape(n, offset_groups, kh * kw, 2, oh, ow)
    y = delta[:, :, :, 0] + rows[:, None] + i[:, None, None]
    x = delta[:, :, :, 1] + columns[None, :] + j[:, None, None]
    return y, x


def gather(x: Tensor, rows: Tensor, columns: Tensor, offset_groups: int) -> Tensor:
    """Bilinear samples (N, G, C/G, K, oh, ow) of ``x`` (N, C, H, W)."""
    n, c, h, w = x.shape
    _, _, k, oh, ow = rows.shape
    # Without align_corners grid_sample maps pixel p to (2p + 1)/size - 1, which stays finite for a map one pixel wide.
    grid = torch.stack(((2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1), dim=-1)
    grouped = x.reshape(n * offset_groups, c // offset_groups, h, w)
    samples = F.grid_sample(
        grouped,
        grid.reshape(n * offset_groups, k * oh, ow, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return samples.reshape(n, offset_groups, c // offset_groups, k, oh, ow)


def deform_conv2d_reference(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    offset_groups: int,
) -> Tensor:
    """The equation in plain PyTorch: gather, modulate, multiply. Shapes and errors as in :func:`deform_conv2d`."""
    check_shapes(x, offset, mask, weight, stride, padding, dilation, offset_groups)
    n, c, _, _ = x.shape
    o, c_group, kh, kw = weight.shape
    oh, ow = offset.shape[2:]
    rows, columns = sampling_points(offset, (kh, kw), stride, padding, dilation, offset_groups)
    samples = gather(x, rows, columns, offset_groups)  # (N, G, C/G, K, oh, ow)
    if mask is not None:
        samples = samples * mask.reshape(n, offset_groups, 1, kh * kw, oh, ow)
    groups = c // c_group
    patches = samples.reshape(n, groups, c_group * kh * kw, oh * ow)
    kernels = weight.reshape(groups, o // groups, c_group * kh * kw)
    result = torch.matmul(kernels, patches).reshape(n, o, oh, ow)
    return result if bias is None else result + bias.reshape(1, o, 1, 1)


def check_shapes(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    offset_groups: int,
) -> None:
    """Raise ``ValueError`` naming both shapes if a map does not have the output's size."""
    n, c, h, w = x.shape
    size = output_size((h, w), weight.shape[2:], stride, padding, dilation)
    points = offset_groups * math.prod(weight.shape[2:])
    check_map("deform_conv2d: offset", offset, x, (n, 2 * points, *size))
    if mask is not None:
        check_map("deform_conv2d: mask", mask, x, (n, points, *size))
    if c % offset_groups:
        raise ValueError(f"deform_conv2d: {c} channels cannot be divided into offset_groups={offset_groups}")


def check_map(name: str, tensor: Tensor, x: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise ``ValueError`` if ``tensor``, called ``name`` in the message, does not have the shape that ``x`` needs."""
    if tuple(tensor.shape) != wanted:
        raise ValueError(f"{name} is {tuple(tensor.shape)}, a {tuple(x.shape)} input needs {wanted}")


_operator = torch.library.custom_op("posestream::deform_conv2d", deform_conv2d_reference, mutates_args=())


@_operator.register_fake
def _(x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *_: object) -> Tensor:  # noqa: ARG001
    return x.new_empty((x.shape[0], weight.shape[0], offset.shape[2], offset.shape[3]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - passed by name
    x, offset, mask, weight, bias, *ctx.settings = inputs
    ctx.save_for_backward(x, offset, mask, weight, bias)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    # Gathering again costs less than keeping the columns, which are K times the size of the input.
    saved: list[Any] = [
        None if t is None else t.detach().requires_grad_(needed)
        for t, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    ]
    wanted = [t for t in saved if t is not None and t.requires_grad]
    with no_autocast(gradient.device):
        with torch.enable_grad():
            result = deform_conv2d_reference(*saved, *ctx.settings)
        gradients = iter(torch.autograd.grad(result, wanted, gradient))
    return *(next(gradients) if t is not None and t.requires_grad else None for t in saved), None, None, None, None


_operator.register_autograd(_backward, setup_context=_setup_context)

AUTOCAST_DEVICES = ("cpu", "cuda")
for _device in AUTOCAST_DEVICES:
    # Offsets are added to coordinates inside, and grid_sample needs all its inputs in one type.
    _operator.register_autocast(_device, torch.float32)


@register_flop_formula(torch.ops.posestream.deform_conv2d)
def _flops(*shapes: Sequence[int], **_: object) -> int:
    """FLOPs of the matrix product, as for an ordinary convolution; as is usual, the interpolation is not counted."""
    x, offset, _mask, weight, *_rest = shapes
    return 2 * x[0] * math.prod(weight) * offset[2] * offset[3]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    offset_groups: int = 1,
) -> Tensor:
    """Convolve ``x`` (N, C, H, W) at displaced, modulated points; returns (N, O, oh, ow).

    ``offset`` (N, 2·G·kh·kw, oh, ow) px, ``mask`` (N, G·kh·kw, oh, ow) or None for ones, ``weight``
    (O, C/groups, kh, kw), G = ``offset_groups``. Raises ``ValueError`` naming both shapes if a map does not have the
    output's size.
    """
    result: Tensor = _operator(
        x, offset, mask, weight, bias, _pair(stride), _pair(padding), _pair(dilation), offset_groups
    )
    return result


class DeformConv2d(nn.Module):
    """The weights of one deformable convolution; offsets and modulation are passed in.

    ``(N, C, H, W), (N, 2GK, oh, ow), (N, GK, oh, ow) -> (N, O, oh, ow)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        offset_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.offset_groups = stride, padding, dilation, offset_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(
            x,
            offset,
            self.weight,
            self.bias,
            mask,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            offset_groups=self.offset_groups,
        )
