"""PyTorch's deformable convolutions on CUDA: ``torch.ops.posestream.deform_conv2d`` and ``…_dilated`` by our kernel.

:func:`register` gives both operators an implementation for CUDA. Gradients still come from the plain operators: the
kernel computes the forward pass only. What it does not support (weight groups, mixed types, uneven paddings) goes to
the plain operators too. A call launches one kernel on PyTorch's current CUDA stream and does not wait, so a CUDA graph
can capture it after a first call.

Not tested on a GPU. Everything before the launch is tested, with the kernel itself run on a CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from engines.errors import EngineError
from engines.layers import deform_dilated
from engines.layers.deform_conv import check_shapes, deform_conv2d_reference
from engines.layers.deform_dilated import dilated_reference
from engines.plugins.deform_conv.compiler import check_cuda, compile_cubin
from engines.plugins.deform_conv.packing import check_weights, pack_indices
from engines.plugins.deform_conv.spec import (
    MAX_DILATIONS,
    MAX_MAP,
    DeformConvSpec,
    DType,
    kernel_arguments,
    plan_launch,
)

_logger = logging.getLogger(__name__)
_DTYPES: dict[DType, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in _DTYPES.items()}
# With this many channels in an offset group, reading vectors of channels is worth copying x to NHWC.
_VECTOR_CHANNELS = 8

Parts = tuple[Tensor, ...]


class Settings(NamedTuple):
    """An operator's arguments besides its tensors; one padding and one dilation for each round."""

    stride: int
    paddings: tuple[int, ...]
    dilations: tuple[int, ...]
    offset_groups: int


class Call(NamedTuple):
    """A kernel and the tensors for it, by the names of ``spec.inputs``."""

    spec: DeformConvSpec
    inputs: dict[str, Tensor]
    out: Tensor


Launcher = Callable[[Call], None]


@lru_cache(maxsize=1)
def register() -> bool:
    """Let both operators use the kernel for CUDA tensors. Returns False and does nothing without CUDA."""
    if not torch.cuda.is_available():
        return False
    try:
        from cuda.bindings import driver
    except (ImportError, RuntimeError):
        _logger.warning("deform_conv: not used without cuda-bindings; pip install cuda-bindings nvidia-cuda-nvrtc")
        return False
    _logger.debug("launching through cuda-bindings, %s", driver.__name__)
    torch.library.register_kernel("posestream::deform_conv2d", "cuda", _deform_conv2d)
    torch.library.register_kernel("posestream::deform_conv2d_dilated", "cuda", _deform_conv2d_dilated)
    return True


# -- the two operators ------------------------------------------------------------------------------------------------


def _deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: Any
) -> Tensor:
    check_shapes(x, offset, mask, weight, *geometry)
    stride, padding, dilation, offset_groups = geometry
    masks, biases = () if mask is None else (mask,), () if bias is None else (bias,)
    if _are_square(stride, padding, dilation):
        settings = Settings(stride[0], (padding[0],), (dilation[0],), offset_groups)
        call = prepare_call(x, (offset,), masks, (weight,), biases, settings)
        if call is not None:
            return _run(call, launch_on_device)
    return deform_conv2d_reference(x, offset, mask, weight, bias, *geometry)


def _deform_conv2d_dilated(
    x: Tensor,
    offsets: Sequence[Tensor],
    masks: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    dilations: Sequence[int],
    offset_groups: int,
) -> Tensor:
    deform_dilated.check_shapes(x, offsets, weights, dilations, offset_groups)
    kh, kw = weights[0].shape[2:]
    if kh == kw:
        settings = Settings(1, tuple(d * (kh // 2) for d in dilations), tuple(dilations), offset_groups)
        call = prepare_call(x, tuple(offsets), tuple(masks), tuple(weights), tuple(biases), settings)
        if call is not None:
            return _run(call, launch_on_device)
    return dilated_reference(x, offsets, masks, weights, biases, dilations, offset_groups)


def _are_square(*pairs: Sequence[int]) -> bool:
    return all(pair[0] == pair[1] for pair in pairs)


def _run(call: Call, launcher: Launcher) -> Tensor:
    if call.out.numel():
        launcher(call)
    return call.out


# -- from an operator's arguments to a call ---------------------------------------------------------------------------


def prepare_call(
    x: Tensor, offsets: Parts, masks: Parts, weights: Parts, biases: Parts, settings: Settings
) -> Call | None:
    """The call that computes this, or None if the kernel cannot. Shapes as in the operators, one of each per round."""
    spec = _make_spec(x, masks, weights, settings)
    if spec is None or not _has_expected_shapes(x, offsets, masks, spec) or not _is_supported(x, offsets, spec):
        return None
    weight, bias = _get_packed(spec, weights, biases)
    inputs = {"x": _to_layout(x, spec), "weight": weight, "bias": bias}
    # fp16 offsets become fp32: coordinates are sums that fp16 cannot hold
    inputs |= {f"offset{r}": _align(offset.float().contiguous()) for r, offset in enumerate(offsets)}
    inputs |= {f"mask{r}": _align(mask.contiguous()) for r, mask in enumerate(masks)}
    size = (x.shape[0], spec.out_channels, *offsets[0].shape[2:])
    return Call(spec, inputs, torch.empty(size, dtype=x.dtype, device=x.device))


def _make_spec(x: Tensor, masks: Parts, weights: Parts, settings: Settings) -> DeformConvSpec | None:
    o, per_group, kh, kw = weights[0].shape
    types = {x.dtype, *(weight.dtype for weight in weights)}
    alike = len({mask.dtype for mask in masks}) <= 1 and len({weight.shape for weight in weights}) == 1
    channels = x.shape[1]
    if per_group != channels or len(types) > 1 or x.dtype not in _NAMES or not alike or len(weights) > MAX_DILATIONS:
        return None
    mask = _NAMES.get(masks[0].dtype) if masks else "none"
    if mask is None:
        return None
    fixed = (channels, o, (kh, kw), settings, _NAMES[x.dtype], mask)
    return _make_cached_spec(*fixed, _layout(x, channels // settings.offset_groups))


@lru_cache(maxsize=256)
def _make_cached_spec(
    channels: int, o: int, kernel: tuple[int, int], settings: Settings, dtype: Any, mask: Any, layout: Any
) -> DeformConvSpec | None:
    try:
        return DeformConvSpec(
            channels,
            o,
            kernel,
            settings.stride,
            settings.offset_groups,
            settings.dilations,
            settings.paddings,
            dtype,
            mask,
            layout=layout,
        )
    except EngineError as error:
        _logger.warning("%s; the plain operator is used instead", error)
        return None


def _layout(x: Tensor, group: int) -> str:
    """NHWC if ``x`` is in that order already, or if enough channels share their points to be worth a copy."""
    already = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    vectors = group % 2 == 0
    return "nhwc" if vectors and (already or group >= _VECTOR_CHANNELS) else "nchw"


def _has_expected_shapes(x: Tensor, offsets: Parts, masks: Parts, spec: DeformConvSpec) -> bool:
    """Every map has the size that the kernel reads; otherwise the plain operator raises the error."""
    n, _, h, w = x.shape
    size = plan_launch(spec, n, h, w).integers[2:]
    maps = spec.offset_groups * spec.points
    is_complete = len(offsets) == spec.rounds and len(masks) in (0, spec.rounds)
    wanted = [((n, 2 * maps, *size), offset) for offset in offsets] + [((n, maps, *size), mask) for mask in masks]
    return is_complete and all(tuple(tensor.shape) == shape for shape, tensor in wanted)


def _is_supported(x: Tensor, offsets: Parts, spec: DeformConvSpec) -> bool:
    """Within the kernel's 32-bit addresses of one person, and on a GPU that computes in this type."""
    h, w = x.shape[2:]
    largest = max(x[0].numel(), *(offset[0].numel() for offset in offsets)) if x.shape[0] else 0
    is_too_old = x.is_cuda and spec.dtype == "bf16" and torch.cuda.get_device_capability(x.device) < (8, 0)
    return h * w < MAX_MAP and largest * 4 < 1 << 31 and not is_too_old


def _to_layout(x: Tensor, spec: DeformConvSpec) -> Tensor:
    form = torch.channels_last if spec.layout == "nhwc" else torch.contiguous_format
    return _align(x.contiguous(memory_format=form))


def _align(tensor: Tensor) -> Tensor:
    """A copy at a multiple of 16 bytes, as vector loads need, if ``tensor`` is a view at another address."""
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone(memory_format=torch.preserve_format)


# -- weights, packed once ---------------------------------------------------------------------------------------------


# By the first weight of each layer: what was packed, and from which state of its parameters.
_packed: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _get_packed(spec: DeformConvSpec, weights: Parts, biases: Parts) -> tuple[Tensor, Tensor]:
    """Weights in the kernel's order and the sum of the biases, packed again if a parameter changed."""
    state = (spec, *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in (*weights, *biases)))
    found = _packed.get(weights[0])
    if found is not None and found[0] == state:
        return found[1]  # type: ignore[no-any-return]
    packed = pack_weights(spec, weights), _sum_biases(spec, weights[0], biases)
    # What is computed during the capture of a CUDA graph has no value until the graph runs.
    if not (weights[0].is_cuda and torch.cuda.is_current_stream_capturing()):
        _packed[weights[0]] = (state, packed)
    return packed


def pack_weights(spec: DeformConvSpec, weights: Sequence[Tensor]) -> Tensor:
    """As :func:`engines.plugins.deform_conv.packing.pack_weights`, on the weights' device and in any type."""
    check_weights(spec, [tuple(weight.shape) for weight in weights])
    dtype = _DTYPES[spec.dtype]
    flat = torch.cat([*(w.detach().to(dtype).reshape(-1) for w in weights), weights[0].new_zeros(1, dtype=dtype)])
    return flat[_pack_indices(spec, weights[0].device)]


@lru_cache(maxsize=64)
def _pack_indices(spec: DeformConvSpec, device: torch.device) -> Tensor:
    return torch.from_numpy(pack_indices(spec)).to(device)


def _sum_biases(spec: DeformConvSpec, like: Tensor, biases: Parts) -> Tensor:
    total = torch.zeros(spec.out_channels, dtype=torch.float32, device=like.device)
    for bias in biases:
        total += bias.detach().float()
    return total


# -- the launch -------------------------------------------------------------------------------------------------------


def launch_on_device(call: Call) -> None:
    """Launch ``call`` on PyTorch's current CUDA stream of the tensors' GPU."""
    from cuda.bindings import driver

    x = call.inputs["x"]
    shape = plan_launch(call.spec, x.shape[0], x.shape[2], x.shape[3])
    pointers = {name: tensor.data_ptr() for name, tensor in call.inputs.items()}
    with torch.cuda.device(x.device):
        function = _load_function(call.spec, x.device.index)
        cuda_stream = torch.cuda.current_stream(x.device).cuda_stream
        parameters = kernel_arguments(call.spec, pointers, shape, call.out.data_ptr())
        grid, block = shape.grid, (shape.block, 1, 1)
        check_cuda(driver.cuLaunchKernel(function, *grid, *block, shape.shared_bytes, cuda_stream, parameters, 0))


@lru_cache(maxsize=256)
def _load_function(spec: DeformConvSpec, device: int) -> Any:
    """The kernel, compiled for this GPU and loaded into PyTorch's context of it."""
    from cuda.bindings import driver

    major, minor = torch.cuda.get_device_capability(device)
    torch.cuda.current_stream(device).query()  # PyTorch creates its context at the first use
    module = check_cuda(driver.cuModuleLoadData(compile_cubin(spec, f"sm_{major}{minor}")))
    return check_cuda(driver.cuModuleGetFunction(module, spec.entry.encode()))
