"""What one compiled kernel computes, how its work is divided, and how it is launched.

Everything but the batch and the size of the maps is compiled in. Nothing here needs CUDA, torch or TensorRT, and
:func:`launch` takes TensorRT's symbolic integers as well as numbers: only ``+ - * //`` are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from engines.errors import EngineError
from engines.plugins.deform_conv.tiling import Tiling, choose_tiling

DType = Literal["fp16", "bf16", "fp32"]
MaskType = Literal["none", "fp16", "bf16", "fp32"]
Activation = Literal["none", "relu", "leaky_relu"]
Layout = Literal["nchw", "nhwc"]

MAX_DILATIONS = 8
# Corners are addressed with 30 bits; the two others are set if the right and the lower neighbour exist.
MAX_MAP = 1 << 30


@dataclass(frozen=True)
class DeformConvSpec:
    """One kernel: ``y = act(b + Σ_r DCNv2_r(x))``, a term for each of ``dilations``, all of the same shape.

    ``x`` is (N, C, h, w) for ``layout="nchw"`` and (N, h, w, C) for ``"nhwc"``, of type ``dtype``; offsets are
    (N, 2·G·kh·kw, oh, ow) fp32 px (fp16 has steps of 1/16 px from 64 px on), masks (N, G·kh·kw, oh, ow) of type
    ``mask``; with ``joined`` those of all dilations are one tensor, dilation by dilation along the channels.
    The result is (N, O, oh, ow) of type ``dtype``. ``paddings`` None keeps the size at stride 1: d·(k // 2).
    Raises ``EngineError`` for values that the kernel does not support.
    """

    channels: int
    out_channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    offset_groups: int = 1
    dilations: tuple[int, ...] = (1,)
    paddings: tuple[int, ...] | None = None
    dtype: DType = "fp16"
    mask: MaskType = "fp16"
    activation: Activation = "none"
    slope: float = 0.0
    layout: Layout = "nchw"
    joined: bool = False
    tile: int = 64
    threads: int = 256

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_choices(self)
        _check_paddings(self)
        _ = self.tiling  # raises if it does not fit into shared memory

    @property
    def pads(self) -> tuple[int, ...]:
        """Padding of each dilation, px, on every side."""
        return self.paddings or tuple(d * (self.kernel[0] // 2) for d in self.dilations)

    @property
    def points(self) -> int:
        """Kernel points of one dilation."""
        return self.kernel[0] * self.kernel[1]

    @property
    def rounds(self) -> int:
        """The number of dilations, whose results are added."""
        return len(self.dilations)

    @property
    def entry(self) -> str:
        """Name of the kernel in the compiled module."""
        return f"deform_conv_{self.dtype}"

    @cached_property
    def tiling(self) -> Tiling:
        """How the matrix product is divided into stages."""
        return choose_tiling(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input pointers, in the kernel's order."""
        copies = 1 if self.joined else self.rounds
        offsets = tuple(f"offset{r}" for r in range(copies))
        masks = tuple(f"mask{r}" for r in range(copies)) if self.mask != "none" else ()
        return ("x", *offsets, *masks, "weight", "bias")


def _check_numbers(spec: DeformConvSpec) -> None:
    for name in ("channels", "out_channels", "stride", "offset_groups"):
        if getattr(spec, name) < 1:
            raise EngineError(f"deform_conv: {name}={getattr(spec, name)}; give at least 1")
    if min(spec.kernel) < 1 or not spec.dilations or min(spec.dilations) < 1:
        raise EngineError(f"deform_conv: kernel={spec.kernel}, dilations={spec.dilations}; give at least 1 of each")
    if spec.rounds > MAX_DILATIONS:
        raise EngineError(f"deform_conv: {spec.rounds} dilations in one launch; give at most {MAX_DILATIONS}")
    if spec.channels % spec.offset_groups:
        raise EngineError(
            f"deform_conv: {spec.channels} channels cannot be divided into offset_groups={spec.offset_groups}; "
            "give a number that divides them"
        )


def _check_choices(spec: DeformConvSpec) -> None:
    allowed: dict[str, tuple[Any, ...]] = {
        "dtype": ("fp16", "bf16", "fp32"),
        "mask": ("none", "fp16", "bf16", "fp32"),
        "activation": ("none", "relu", "leaky_relu"),
        "layout": ("nchw", "nhwc"),
        "tile": (32, 64, 128),
        "threads": (128, 256),
    }
    for name, choices in allowed.items():
        if getattr(spec, name) not in choices:
            raise EngineError(
                f"deform_conv: {name}={getattr(spec, name)!r}; choose one of {', '.join(map(str, choices))}"
            )


def _check_paddings(spec: DeformConvSpec) -> None:
    if spec.paddings is not None and (len(spec.paddings) != spec.rounds or min(spec.paddings) < 0):
        raise EngineError(
            f"deform_conv: paddings={spec.paddings} for dilations={spec.dilations}; give one of 0 or more to each"
        )
    if spec.paddings is None and (spec.kernel[0] != spec.kernel[1] or spec.kernel[0] % 2 == 0):
        raise EngineError(
            f"deform_conv: a {spec.kernel[0]}x{spec.kernel[1]} kernel has no default padding; give paddings"
        )
    sizes = {tuple(2 * p - d * (k - 1) for k in spec.kernel) for p, d in zip(spec.pads, spec.dilations, strict=True)}
    if len(sizes) > 1:
        raise EngineError(
            f"deform_conv: paddings={spec.pads} for dilations={spec.dilations} give results of different sizes, which "
            "cannot be added; give paddings that match the dilations"
        )


class Launch(NamedTuple):
    """Grid, block and the integers that follow the input pointers. Shared memory is static: ``shared_bytes`` is 0."""

    grid: tuple[Any, Any, Any]
    block: int
    integers: tuple[Any, Any, Any, Any]
    shared_bytes: int = 0


def output_side(spec: DeformConvSpec, size: Any, axis: int) -> Any:
    """Height (``axis`` 0) or width (1) of the result; that of ``x`` itself if the convolution keeps it."""
    extent = spec.dilations[0] * (spec.kernel[axis] - 1)
    growth = 2 * spec.pads[0] - extent
    if spec.stride == 1:
        return size + growth if growth else size
    return (size + (growth - 1)) // spec.stride + 1


def plan_launch(spec: DeformConvSpec, n: Any, h: Any, w: Any) -> Launch:
    """The launch for ``n`` maps of ``h`` × ``w``, numbers or TensorRT's ``SymIntExpr``.

    A block takes ``tile`` pixels of one person and all output channels of one tile of them.
    """
    oh, ow = output_side(spec, h, 0), output_side(spec, w, 1)
    pixel_tiles = (oh * ow + (spec.tile - 1)) // spec.tile
    return Launch((pixel_tiles, spec.tiling.out_tiles, n), spec.threads, (h, w, oh, ow))


Arguments = tuple[tuple[int, ...], tuple[Any, ...]]


def kernel_arguments(spec: DeformConvSpec, inputs: dict[str, int], shape: Launch, output: int) -> Arguments:
    """Values and C types of the kernel's parameters: input pointers, ``h, w, oh, ow``, the output pointer.

    The order is TensorRT's for ahead-of-time plugins. ``inputs`` maps each of ``spec.inputs`` to an address.
    """
    import ctypes

    values = (*(inputs[name] for name in spec.inputs), *shape.integers, output)
    return values, (*[ctypes.c_void_p] * len(spec.inputs), *[ctypes.c_int] * 4, ctypes.c_void_p)
