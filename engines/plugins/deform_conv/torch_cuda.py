"""PyTorch's deformable convolutions on CUDA: ``torch.ops.posestream.deform_conv2d`` and ``…_dilated`` by our kernel.

:func:`register` gives both operators an implementation for CUDA. Gradients still come from the plain operators: the
kernel computes the forward pass alone. What it cannot compute (weight groups, types that differ, uneven paddings) goes
to the plain operators too. A call launches one kernel on PyTorch's current CUDA stream and does not wait, so that it
can be captured in a CUDA graph once it was called before.

Not run on a GPU so far. Everything before the launch is tested, with the kernel itself run on a processor.
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
from engines.plugins.deform_conv.compiler import compile_cubin
from engines.plugins.deform_conv.packing import pack_indices
from engines.plugins.deform_conv.spec import MAX_DILATIONS, MAX_MAP, DeformConvSpec, DType, arguments, launch

_LOG = logging.getLogger(__name__)
_NAMES: dict[torch.dtype, DType] = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
# From so many channels to an offset group on, reading vectors of channels repays writing x once more as NHWC.
_VECTOR_CHANNELS = 8

Parts = tuple[Tensor, ...]


class Settings(NamedTuple):
    """What an operator is told beside its tensors; one padding and one dilation for each round."""

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
    """Let both operators use the kernel for CUDA tensors from now on. False, and nothing done, without CUDA."""
    if not torch.cuda.is_available():
        return False
    try:
        from cuda.bindings import driver
    except (ImportError, RuntimeError):
        _LOG.warning("deform_conv: not used without cuda-bindings; pip install cuda-bindings nvidia-cuda-nvrtc")
        return False
    _LOG.debug("launching through cuda-bindings, %s", driver.__name__)
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
    if _square(stride, padding, dilation):
        settings = Settings(stride[0], (padding[0],), (dilation[0],), offset_groups)
        call = call_of(x, (offset,), masks, (weight,), biases, settings)
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
        call = call_of(x, tuple(offsets), tuple(masks), tuple(weights), tuple(biases), settings)
        if call is not None:
            return _run(call, launch_on_device)
    return dilated_reference(x, offsets, masks, weights, biases, dilations, offset_groups)


def _square(*pairs: Sequence[int]) -> bool:
    return all(pair[0] == pair[1] for pair in pairs)


def _run(call: Call, launcher: Launcher) -> Tensor:
    if call.out.numel():
        launcher(call)
    return call.out


# -- from an operator's arguments to a call ---------------------------------------------------------------------------


def call_of(x: Tensor, offsets: Parts, masks: Parts, weights: Parts, biases: Parts, settings: Settings) -> Call | None:
    """The call that computes this, or None where the kernel cannot. Shapes as in the operators, one of each a round."""
    spec = _spec(x, masks, weights, settings)
    if spec is None or not _whole(x, offsets, masks, spec) or not _fits(x, offsets, spec):
        return None
    weight, bias = _packed(spec, weights, biases)
    inputs = {"x": _laid_out(x, spec), "weight": weight, "bias": bias}
    # fp16 offsets are made fp32: their coordinates are sums, which fp16 cannot hold
    inputs |= {f"offset{r}": _aligned(offset.float().contiguous()) for r, offset in enumerate(offsets)}
    inputs |= {f"mask{r}": _aligned(mask.contiguous()) for r, mask in enumerate(masks)}
    size = (x.shape[0], spec.out_channels, *offsets[0].shape[2:])
    return Call(spec, inputs, torch.empty(size, dtype=x.dtype, device=x.device))


def _spec(x: Tensor, masks: Parts, weights: Parts, settings: Settings) -> DeformConvSpec | None:
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
    return _spec_of(*fixed, _layout(x, channels // settings.offset_groups))


@lru_cache(maxsize=256)
def _spec_of(
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
        _LOG.warning("%s; the plain operator is used instead", error)
        return None


def _layout(x: Tensor, group: int) -> str:
    """NHWC where ``x`` lies so already, or where enough channels share their points to repay a copy."""
    already = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    vectors = group % 2 == 0
    return "nhwc" if vectors and (already or group >= _VECTOR_CHANNELS) else "nchw"


def _whole(x: Tensor, offsets: Parts, masks: Parts, spec: DeformConvSpec) -> bool:
    """Every map has the size that the kernel will read; else the plain operator says what is wrong."""
    n, _, h, w = x.shape
    size = launch(spec, n, h, w).integers[2:]
    maps = spec.offset_groups * spec.points
    rounds = len(offsets) == spec.rounds and len(masks) in (0, spec.rounds)
    wanted = [((n, 2 * maps, *size), offset) for offset in offsets] + [((n, maps, *size), mask) for mask in masks]
    return rounds and all(tuple(tensor.shape) == shape for shape, tensor in wanted)


def _fits(x: Tensor, offsets: Parts, spec: DeformConvSpec) -> bool:
    """Within the kernel's 32-bit addresses of one person, and on a GPU that computes in this type."""
    h, w = x.shape[2:]
    largest = max(x[0].numel(), *(offset[0].numel() for offset in offsets)) if x.shape[0] else 0
    old = x.is_cuda and spec.dtype == "bf16" and torch.cuda.get_device_capability(x.device) < (8, 0)
    return h * w < MAX_MAP and largest * 4 < 1 << 31 and not old


def _laid_out(x: Tensor, spec: DeformConvSpec) -> Tensor:
    form = torch.channels_last if spec.layout == "nhwc" else torch.contiguous_format
    return _aligned(x.contiguous(memory_format=form))


def _aligned(tensor: Tensor) -> Tensor:
    """At a multiple of 16 bytes, as vector loads need: a view of some part of a tensor may lie anywhere."""
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone(memory_format=torch.preserve_format)


# -- weights, packed once ---------------------------------------------------------------------------------------------


# Of the first weight of each layer: what was packed, and from which state of its parameters.
_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _packed(spec: DeformConvSpec, weights: Parts, biases: Parts) -> tuple[Tensor, Tensor]:
    """Weights in the kernel's order and the sum of the biases, as long as nobody changes a parameter."""
    state = (spec, *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in (*weights, *biases)))
    found = _kept.get(weights[0])
    if found is not None and found[0] == state:
        return found[1]  # type: ignore[no-any-return]
    packed = _pack(spec, weights), _sum(spec, weights[0], biases)
    # What is computed while a CUDA graph is captured has no value until the graph runs.
    if not (weights[0].is_cuda and torch.cuda.is_current_stream_capturing()):
        _kept[weights[0]] = (state, packed)
    return packed


def _pack(spec: DeformConvSpec, weights: Parts) -> Tensor:
    flat = torch.cat([*(w.detach().reshape(-1) for w in weights), weights[0].new_zeros(1)])
    return flat[_indices(spec, weights[0].device)]


@lru_cache(maxsize=64)
def _indices(spec: DeformConvSpec, device: torch.device) -> Tensor:
    return torch.from_numpy(pack_indices(spec)).to(device)


def _sum(spec: DeformConvSpec, like: Tensor, biases: Parts) -> Tensor:
    total = torch.zeros(spec.out_channels, dtype=torch.float32, device=like.device)
    for bias in biases:
        total += bias.detach().float()
    return total


# -- the launch -------------------------------------------------------------------------------------------------------


def launch_on_device(call: Call) -> None:
    """On PyTorch's current CUDA stream of the tensors' GPU."""
    from cuda.bindings import driver

    x = call.inputs["x"]
    shape = launch(call.spec, x.shape[0], x.shape[2], x.shape[3])
    pointers = {name: tensor.data_ptr() for name, tensor in call.inputs.items()}
    with torch.cuda.device(x.device):
        function = _function(call.spec, x.device.index)
        cuda_stream = torch.cuda.current_stream(x.device).cuda_stream
        given = arguments(call.spec, pointers, shape, call.out.data_ptr())
        grid, block = shape.grid, (shape.block, 1, 1)
        _check(driver.cuLaunchKernel(function, *grid, *block, shape.shared_bytes, cuda_stream, given, 0))


@lru_cache(maxsize=256)
def _function(spec: DeformConvSpec, device: int) -> Any:
    """The kernel, compiled for this GPU and loaded into PyTorch's context of it."""
    from cuda.bindings import driver

    major, minor = torch.cuda.get_device_capability(device)
    torch.cuda.current_stream(device).query()  # PyTorch makes its context when it first needs one
    module = _check(driver.cuModuleLoadData(compile_cubin(spec, f"sm_{major}{minor}")))
    return _check(driver.cuModuleGetFunction(module, spec.entry.encode()))


def _check(answer: tuple[Any, ...]) -> Any:
    """What a call of the driver gave beside its result, which must be success."""
    result, *values = answer
    if int(result):
        raise EngineError(
            f"deform_conv: the CUDA driver says {result.name}; posestream doctor --gpu tells what this machine lacks"
        )
    return values[0] if values else None
