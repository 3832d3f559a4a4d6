"""The sum of several deformable convolutions of one input, with different dilations, in one call.

    y = Σ_r  DCNv2_r(x),   r = 3, 6, 9, 12, 15 in DCPose, 1, 3, 6, 9, 12 in IMAPose, 3, 6, 12, 18, 24 in PoseWarper

All points are gathered together and multiplied by all weights in one matrix product, since Σ_r W_r x_r is [W_1 … W_R]
times the x_r stacked. Registered as ``torch.ops.posestream.deform_conv2d_dilated``, so that a device's own kernel can
accumulate all of them in one launch; they export as ``DeformConv`` nodes and their sum. Under autocast everything is
computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from engines.layers.deform_conv import AUTOCAST_DEVICES, DeformConv2d, check_map, gather, sampling_points
from engines.layers.fp32 import no_autocast


def dilated_reference(
    x: Tensor,
    offsets: Sequence[Tensor],
    masks: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    dilations: Sequence[int],
    offset_groups: int,
) -> Tensor:
    """The sum in plain PyTorch. Shapes and errors as in :func:`deform_conv2d_dilated`."""
    check_shapes(x, offsets, weights, dilations, offset_groups)
    n, c, h, w = x.shape
    o, _, kh, kw = weights[0].shape
    points = [
        sampling_points(offset, (kh, kw), (1, 1), (d * (kh // 2), d * (kw // 2)), (d, d), offset_groups)
        for offset, d in zip(offsets, dilations, strict=True)
    ]
    rows, columns = (torch.cat(part, dim=2) for part in zip(*points, strict=True))  # (N, G, R·K, h, w)
    samples = gather(x, rows, columns, offset_groups)  # (N, G, C/G, R·K, h, w)
    if masks:
        modulation = torch.cat([mask.reshape(n, offset_groups, kh * kw, h, w) for mask in masks], dim=2)
        samples = samples * modulation[:, :, None]
    patches = samples.reshape(n, c * len(dilations) * kh * kw, h * w)
    kernels = torch.cat([weight.reshape(o, c, kh * kw) for weight in weights], dim=2).reshape(o, -1)
    result = torch.matmul(kernels, patches).reshape(n, o, h, w)
    return result + torch.stack([*biases]).sum(0).reshape(1, o, 1, 1) if biases else result


_operator = torch.library.custom_op("posestream::deform_conv2d_dilated", dilated_reference, mutates_args=())


@_operator.register_fake
def _(x: Tensor, offsets: Sequence[Tensor], masks: object, weights: Sequence[Tensor], *_: object) -> Tensor:  # noqa: ARG001
    return x.new_empty((x.shape[0], weights[0].shape[0], x.shape[2], x.shape[3]))


def check_shapes(
    x: Tensor, offsets: Sequence[Tensor], weights: Sequence[Tensor], dilations: Sequence[int], offset_groups: int
) -> None:
    """Raise ``ValueError`` if a dilation lacks a tensor or an offset does not have the size of ``x``."""
    if not len(offsets) == len(weights) == len(dilations) > 0:
        raise ValueError(
            f"deform_conv2d_dilated: {len(dilations)} dilations, {len(offsets)} offsets and {len(weights)} weights; "
            "give one of each for every dilation"
        )
    wanted = (x.shape[0], 2 * offset_groups * math.prod(weights[0].shape[2:]), *x.shape[2:])
    for d, offset in zip(dilations, offsets, strict=True):
        check_map(f"deform_conv2d_dilated: offset of dilation {d}", offset, x, wanted)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - passed by name
    x, *lists, ctx.dilations, ctx.offset_groups = inputs
    ctx.lengths = [len(tensors) for tensors in lists]
    ctx.save_for_backward(x, *(tensor for tensors in lists for tensor in tensors))


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    # Gathering again costs less than keeping the columns, which are R·K times the size of the input.
    saved = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
    with no_autocast(gradient.device):
        with torch.enable_grad():
            x, offsets, masks, weights, biases = _split(saved, ctx.lengths)
            result = dilated_reference(x, offsets, masks, weights, biases, ctx.dilations, ctx.offset_groups)
        x_gradient, *gradients = _split(list(torch.autograd.grad(result, saved, gradient)), ctx.lengths)
    return x_gradient, *gradients, None, None


def _split(tensors: list[Tensor], lengths: Sequence[int]) -> list[Any]:
    """The first tensor, then lists of these lengths."""
    parts: list[Any] = [tensors[0]]
    start = 1
    for length in lengths:
        parts.append(tensors[start : start + length])
        start += length
    return parts


_operator.register_autograd(_backward, setup_context=_setup_context)
for _device in AUTOCAST_DEVICES:
    _operator.register_autocast(_device, torch.float32)


@register_flop_formula(torch.ops.posestream.deform_conv2d_dilated)
def _flops(*shapes: Any, **_: object) -> int:
    """FLOPs of the matrix product; as is usual, the interpolation is not counted."""
    x, _offsets, _masks, weights, *_rest = shapes
    return sum(2 * x[0] * math.prod(weight) * x[2] * x[3] for weight in weights)


def deform_conv2d_dilated(
    x: Tensor,
    layers: Sequence[DeformConv2d],
    offsets: Sequence[Tensor],
    masks: Sequence[Tensor] = (),
) -> Tensor:
    """The sum of ``layers`` applied to ``x`` (N, C, h, w): (N, O, h, w). Their stride is 1 and they keep the size.

    ``offsets`` (N, 2·G·K, h, w) px and ``masks`` (N, G·K, h, w), one for each layer; an empty ``masks`` means ones.
    Raises ``ValueError`` naming both shapes if an offset does not have the size of ``x``.
    """
    biases = [layer.bias for layer in layers if layer.bias is not None]
    result: Tensor = _operator(
        x,
        list(offsets),
        list(masks),
        [layer.weight for layer in layers],
        biases,
        [layer.dilation for layer in layers],
        layers[0].offset_groups,
    )
    return result
