"""The fused deformable convolution against gather-then-multiply and against the roofline, on an NVIDIA GPU.

    python -m benchmarks.deform_conv --write
    python -m benchmarks.deform_conv --static --write

Every shape is first compared with float64. Then our kernel and its rival are each captured in a CUDA graph and
replayed, so that launching from Python is not in the figures. The rival is ``torchvision.ops.deform_conv2d`` where
torchvision is installed, else the same two steps in plain PyTorch: samples to columns in memory, then cuBLAS. The
roofline is what this GPU reached in the same run, copying memory and multiplying matrices.

``--static`` needs a CUDA compiler and no GPU: work and traffic of each shape, and what the kernel takes of each GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from engines.errors import EngineError
from engines.layers.deform_conv import deform_conv2d_reference
from engines.plugins.deform_conv.compiler import compile_cubin
from engines.plugins.deform_conv.inspection import LIMITS, count_resident_blocks, read_resources
from engines.plugins.deform_conv.spec import DeformConvSpec

RESULTS = Path(__file__).parent / "results"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 30
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
BYTES = {"fp16": 2, "bf16": 2, "fp32": 4, "none": 0}


@dataclass(frozen=True)
class Shape:
    """A paper's layer, in fp16; maps are 96×72."""

    name: str
    spec: DeformConvSpec
    h: int = 96
    w: int = 72

    @property
    def flops(self) -> int:
        """Of the matrix product for one person; interpolation is not counted, nor is it by others."""
        s = self.spec
        return 2 * s.rounds * s.points * s.channels * s.out_channels * self.h * self.w

    @property
    def bytes(self) -> int:
        """That one person must move at least: every tensor once, weights left out since all people share them."""
        s, pixels = self.spec, self.h * self.w
        maps = s.rounds * s.offset_groups * s.points
        numbers = (s.channels + s.out_channels) * BYTES[s.dtype] + maps * (2 * 4 + BYTES[s.mask])
        return numbers * pixels

    @property
    def gathered_bytes(self) -> int:
        """That the first-level cache must deliver for one person: four corners of every sample."""
        s = self.spec
        return 4 * s.rounds * s.points * s.channels * BYTES[s.dtype] * self.h * self.w

    @property
    def column_bytes(self) -> int:
        """The additional traffic of gather-then-multiply: its columns, written once and read once."""
        return self.gathered_bytes // 2


def _make_shape(
    name: str, channels: int, groups: int, dilations: tuple[int, ...], layout: Any, mask: Any = "fp16"
) -> Shape:
    spec = DeformConvSpec(channels, channels, offset_groups=groups, dilations=dilations, layout=layout, mask=mask)
    return Shape(name, spec)


SHAPES = (
    _make_shape("FAMI-Pose, TDMI: 48, 12 groups, d 3", 48, 12, (3,), "nhwc"),
    _make_shape("the same as NCHW", 48, 12, (3,), "nchw"),
    _make_shape("IMAPose: 48, 1 group, d 1 3 6 9 12", 48, 1, (1, 3, 6, 9, 12), "nhwc"),
    _make_shape("48, 1 group, d 3", 48, 1, (3,), "nhwc"),
    _make_shape("DCPose: 17, 17 groups, d 3 6 9 12 15", 17, 17, (3, 6, 9, 12, 15), "nchw"),
    _make_shape("PoseWarper: 17, 17 groups, d 3 6 12 18 24", 17, 17, (3, 6, 12, 18, 24), "nchw", "none"),
    _make_shape("51, 17 groups, d 3", 51, 17, (3,), "nchw"),
    _make_shape("51, 1 group, d 3", 51, 1, (3,), "nchw"),
)


def in_type(shape: Shape, dtype: Any) -> Shape:
    """The same in another precision."""
    mask: Any = dtype if shape.spec.mask != "none" else "none"
    return replace(shape, spec=replace(shape.spec, dtype=dtype, mask=mask))


# -- without a GPU ----------------------------------------------------------------------------------------------------


# Dense fp16 with fp32 sums, TFLOP/s, and memory, TB/s: the makers' data sheets.
SHEETS = {"T4": (65, 0.32), "A100": (312, 1.56), "RTX 4090": (165, 1.01), "H200": (989, 4.8)}


def static_report() -> Iterator[str]:
    """Tables that need no GPU."""
    yield "## Work and traffic of one person, fp16\n"
    yield from work_table()
    yield "\n## What the kernel takes of a multiprocessor\n"
    yield "Registers of a thread, KiB of shared memory of a block, blocks of 256 threads at once, share of the warps;"
    yield "and the bytes of a thread's registers that were spilled to memory, where any were.\n"
    yield from resource_table()


def work_table() -> Iterator[str]:
    """Intensity against each GPU's ridge: below it memory is the limit, above it the matrix units."""
    ridges = {name: tera / bandwidth for name, (tera, bandwidth) in SHEETS.items()}
    heads = " | ".join(f"{name} ({ridge:.0f})" for name, ridge in ridges.items())
    yield f"| layer | MFLOP | MB | MB of columns saved | FLOP/B | MB through L1 | {heads} |"
    yield "|---" * (6 + len(ridges)) + "|"
    for shape in SHAPES:
        intensity = shape.flops / shape.bytes
        bounds = " | ".join("memory" if intensity < ridge else "matrix units" for ridge in ridges.values())
        yield (
            f"| {shape.name} | {shape.flops / 1e6:.0f} | {shape.bytes / 1e6:.1f} | {shape.column_bytes / 1e6:.0f} "
            f"| {intensity:.0f} | {shape.gathered_bytes / 1e6:.0f} | {bounds} |"
        )


def resource_table() -> Iterator[str]:
    """A row for each shape and precision."""
    yield f"| layer | type | {' | '.join(LIMITS)} |"
    yield "|---" * (2 + len(LIMITS)) + "|"
    for shape in SHAPES:
        for dtype in ("fp16", "fp32"):
            spec = in_type(shape, dtype).spec
            yield f"| {shape.name} | {dtype} | {' | '.join(format_resources(spec, name) for name in LIMITS)} |"


def format_resources(spec: DeformConvSpec, architecture: str) -> str:
    """One cell of the table."""
    found = read_resources(compile_cubin(spec, architecture))
    blocks = count_resident_blocks(found, spec.threads, architecture)
    share = blocks * spec.threads // 32 / LIMITS[architecture].warps
    spilled = f", {found.frame_bytes} B spilled" if found.frame_bytes else ""
    return f"{found.registers}, {found.shared_bytes / 1024:.0f}, {blocks}, {share:.0%}{spilled}"


# -- on a GPU: not run so far -----------------------------------------------------------------------------------------


@dataclass
class Tensors:
    """What both sides are given."""

    x: Any
    offsets: tuple[Any, ...]
    masks: tuple[Any, ...]
    weights: tuple[Any, ...]


def draw_tensors(shape: Shape, n: int) -> Tensors:
    """Offsets of about 2 px, as trained networks give."""
    s, kind = shape.spec, TYPES[shape.spec.dtype]
    g = torch.Generator("cuda").manual_seed(0)
    maps = s.offset_groups * s.points

    def normal(*size: int) -> Any:
        return torch.randn(*size, generator=g, device="cuda")

    form = torch.channels_last if s.layout == "nhwc" else torch.contiguous_format
    return Tensors(
        normal(n, s.channels, shape.h, shape.w).to(kind).contiguous(memory_format=form),
        tuple(2 * normal(n, 2 * maps, shape.h, shape.w) for _ in s.dilations),
        tuple(normal(n, maps, shape.h, shape.w).sigmoid().to(kind) for _ in s.dilations) if s.mask != "none" else (),
        tuple(normal(s.out_channels, s.channels, *s.kernel).to(kind) / 20 for _ in s.dilations),
    )


def ours(shape: Shape, given: Tensors) -> Callable[[], Any]:
    """Our kernel alone: what it reads is laid out and its weights are packed before."""
    from engines.plugins.deform_conv.torch_cuda import Settings, launch_on_device, prepare_call

    s = shape.spec
    settings = Settings(s.stride, s.pads, s.dilations, s.offset_groups)
    call = prepare_call(given.x, given.offsets, given.masks, given.weights, (), settings)
    assert call is not None

    def run() -> Any:
        launch_on_device(call)
        return call.out

    return run


def rival(shape: Shape, given: Tensors) -> tuple[str, Callable[[], Any]]:
    """Name and call of gather-then-multiply, everything in one type as those operators want it."""
    s, kind = shape.spec, given.x.dtype
    x, offsets = given.x.contiguous(), [offset.to(kind) for offset in given.offsets]
    masks = list(given.masks) or [None] * s.rounds
    rounds = list(zip(offsets, masks, given.weights, s.pads, s.dilations, strict=True))
    try:
        from torchvision.ops import deform_conv2d
    except ImportError:
        return "columns + cuBLAS in PyTorch", lambda: sum(
            deform_conv2d_reference(x, o, m, w, None, (1, 1), (p, p), (d, d), s.offset_groups)
            for o, m, w, p, d in rounds
        )
    return "torchvision", lambda: sum(
        deform_conv2d(x, o, w, None, padding=p, dilation=d, mask=m) for o, m, w, p, d in rounds
    )


def exact(shape: Shape, given: Tensors) -> Any:
    """In float64."""
    s = shape.spec
    masks = [m.double() for m in given.masks] or [None] * s.rounds
    return sum(
        deform_conv2d_reference(
            given.x.double(), o.double(), m, w.double(), None, (1, 1), (p, p), (d, d), s.offset_groups
        )
        for o, m, w, p, d in zip(given.offsets, masks, given.weights, s.pads, s.dilations, strict=True)
    )


def median_us(call: Callable[[], Any]) -> float:
    """Of ``ROUNDS`` replays of a CUDA graph of ``call``."""
    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return statistics.median(_replay_us(graph) for _ in range(ROUNDS))


def _replay_us(graph: Any) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e3


def measure_peaks() -> tuple[float, dict[str, float]]:
    """Bytes a second of a copy, and FLOP a second of a large matrix product in each type, on this GPU."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    copy = torch.empty_like(source)
    bandwidth = 2 * source.numel() / (median_us(lambda: copy.copy_(source)) * 1e-6)
    side, peaks = 8192, {}
    for name, kind in TYPES.items():
        a = torch.randn(side, side, device="cuda").to(kind)
        peaks[name] = 2 * side**3 / (median_us(partial(torch.matmul, a, a)) * 1e-6)
    return bandwidth, peaks


def rms_error(got: Any, wanted: Any) -> float:
    """Root of the mean square."""
    return float((got.double() - wanted).square().mean().sqrt())


def measure(shape: Shape, n: int, bandwidth: float, peak: float) -> str:
    """A row of the table. Raises ``EngineError`` where our kernel is more than twice as wrong as its rival."""
    given = draw_tensors(shape, n)
    our, (name, their) = ours(shape, given), rival(shape, given)
    wanted = exact(shape, given)
    errors = rms_error(our(), wanted), rms_error(their(), wanted)
    if errors[0] > 2 * errors[1]:
        raise EngineError(f"{shape.name}: error {errors[0]:.2e}, {name} has {errors[1]:.2e}; the figures mean nothing")
    our_us, their_us = median_us(our), median_us(their)
    bound_us = n * max(shape.flops / peak, shape.bytes / bandwidth) * 1e6
    return (
        f"| {shape.name} | {shape.spec.dtype} | {n} | {our_us:.1f} | {their_us:.1f} ({name}) | {their_us / our_us:.1f} "
        f"| {bound_us / our_us:.0%} | {errors[0]:.1e} | {errors[1]:.1e} |"
    )


def gpu_report() -> Iterator[str]:
    """Tables of this GPU."""
    bandwidth, peaks = measure_peaks()
    yield f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}: {bandwidth / 1e12:.2f} TB/s copied, "
    yield ", ".join(f"{peak / 1e12:.0f} TFLOP/s {name}" for name, peak in peaks.items()) + ".\n"
    yield "| layer | type | people | ours, µs | rival, µs | ratio | of the roofline | our error | its error |"
    yield "|---" * 9 + "|"
    for dtype, peak in peaks.items():
        for shape in SHAPES:
            for n in BATCHES:
                yield measure(in_type(shape, dtype), n, bandwidth, peak)


# -- the command ------------------------------------------------------------------------------------------------------


def report(static: bool) -> list[str]:
    """All lines. Raises ``EngineError`` where there is no GPU, or no compiler."""
    if static:
        return list(static_report())
    if not torch.cuda.is_available():
        raise EngineError("this machine has no GPU; use --static for the tables that need none")
    return list(gpu_report())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--static", action="store_true", help="what needs no GPU")
    parser.add_argument("--write", action="store_true", help="into benchmarks/results")
    options = parser.parse_args()
    try:
        lines = report(options.static)
    except EngineError as error:
        print(f"benchmarks.deform_conv: {error}", file=sys.stderr)
        return 1
    name = "deform_conv_static" if options.static else "deform_conv"
    command = f"python -m benchmarks.deform_conv{' --static' if options.static else ''} --write"
    text = "\n".join(["# Fused deformable convolution\n", f"    {command}\n", *lines, ""])
    print(text)
    if options.write:
        (RESULTS / f"{name}.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
