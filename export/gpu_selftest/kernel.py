"""Our deformable convolution: compiled for this GPU, compared with float64, timed against the plain operator."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.plugins.deform_conv.compiler import compile_cubin, compile_ptx, find_nvrtc_version
from engines.plugins.deform_conv.spec import DeformConvSpec, DType
from export.gpu_selftest.machine import find_architecture
from export.gpu_selftest.results import AbsentError, FailedError, Found, Work

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_TARGETS = ("sm_75", "sm_90", "sm_120")
"""Architectures to compile for without a GPU: the oldest supported, one between, the newest."""

MAX_ERROR_RATIO = 2.0
"""How many times the plain operator's error the kernel's may be, both against float64 in the same precision."""

BATCHES = (1, 8)
_PEOPLE, _HEIGHT, _WIDTH = 2, 96, 72
_SPREAD_PX = 3.0
_REPEATS, _ROUNDS = 20, 5


@dataclass(frozen=True)
class Layer:
    """A deformable layer of a paper, on maps of 96x72; ``groups`` share offsets."""

    name: str
    channels: int
    groups: int
    dilations: tuple[int, ...]

    def spec(self, dtype: DType) -> DeformConvSpec:
        """The kernel that PyTorch's operator uses for it: NHWC if eight channels or more share their points."""
        return DeformConvSpec(
            self.channels,
            self.channels,
            offset_groups=self.groups,
            dilations=self.dilations,
            dtype=dtype,
            mask=dtype,
            layout="nhwc" if self.channels // self.groups >= 8 else "nchw",
        )


FAMI = Layer("FAMI-Pose", 48, 12, (3,))
LAYERS = (FAMI, Layer("DCPose", 17, 17, (3, 6, 9, 12, 15)), Layer("IMAPose", 48, 1, (1, 3, 6, 9, 12)))
DTYPES: tuple[DType, ...] = ("fp16", "fp32")


def compile_kernels(work: Work) -> Found:  # noqa: ARG001 - every step is given it
    """Compile all layers for this GPU, or one of them for several architectures if there is none."""
    if find_nvrtc_version() is None and shutil.which("nvcc") is None:
        raise AbsentError("no CUDA compiler found, neither NVRTC nor nvcc", "pip install 'cuda-bindings[all]'")
    own = find_architecture()
    layers, targets = (LAYERS, (own,)) if own else ((FAMI,), DEFAULT_TARGETS)
    sizes = {
        f"{layer.name} {dtype} {target}": _compile(layer.spec(dtype), target)
        for target in targets
        for layer in layers
        for dtype in DTYPES
    }
    return Found(f"{len(sizes)} kernels for {', '.join(targets)}", {"bytes": sizes})


def _compile(spec: DeformConvSpec, target: str) -> dict[str, int]:
    return {"cubin": len(compile_cubin(spec, target)), "ptx": len(compile_ptx(spec, target))}


# -- on the GPU --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arguments:
    """Arguments of the operator for several dilations; each list has one tensor for each."""

    layer: Layer
    x: Tensor
    offsets: list[Tensor]
    masks: list[Tensor]
    weights: list[Tensor]
    biases: list[Tensor]

    def to(self, *target: Any) -> Arguments:
        """``Tensor.to`` for all tensors."""
        lists = (
            [tensor.to(*target) for tensor in one] for one in (self.offsets, self.masks, self.weights, self.biases)
        )
        return Arguments(self.layer, self.x.to(*target), *lists)


def make_arguments(
    layer: Layer, dtype: DType, people: int = _PEOPLE, size: tuple[int, int] = (_HEIGHT, _WIDTH)
) -> Arguments:
    """Random tensors with results of order one, all rounded to ``dtype``, so that every type computes the same."""
    import torch

    generator = torch.Generator().manual_seed(0)
    kind = torch.float16 if dtype == "fp16" else torch.float32
    maps, rounds = 9 * layer.groups, len(layer.dilations)
    scale = (layer.channels * 9 * rounds) ** -0.5

    def each(*shape: int, by: float = 1.0) -> list[Tensor]:
        return [(torch.randn(shape, generator=generator) * by).to(kind) for _ in range(rounds)]

    return Arguments(
        layer,
        torch.randn(people, layer.channels, *size, generator=generator).to(kind),
        each(people, 2 * maps, *size, by=_SPREAD_PX),
        [mask.sigmoid() for mask in each(people, maps, *size)],
        each(layer.channels, layer.channels, 3, 3, by=scale),
        each(layer.channels),
    )


def run_plain(given: Arguments) -> Tensor:
    """Run PyTorch's operators, in the type and on the device of the tensors."""
    from engines.layers.deform_dilated import dilated_reference

    layer = given.layer
    lists = (given.offsets, given.masks, given.weights, given.biases)
    return dilated_reference(given.x, *lists, layer.dilations, layer.groups)


def run_kernel(given: Arguments) -> Tensor:
    """Run our kernel. Raises :class:`FailedError` if the plain operator would be used instead."""
    from engines.plugins.deform_conv.torch_cuda import Settings, launch_on_device, prepare_call

    layer = given.layer
    settings = Settings(1, layer.dilations, layer.dilations, layer.groups)
    offsets, masks, weights, biases = map(tuple, (given.offsets, given.masks, given.weights, given.biases))
    call = prepare_call(given.x, offsets, masks, weights, biases, settings)
    if call is None:
        raise FailedError(
            f"the kernel does not support {layer.name} in {given.x.dtype}; the plain operator would be used"
        )
    launch_on_device(call)
    return call.out


def check_accuracy(work: Work) -> Found:  # noqa: ARG001
    """Compare every layer in every type with float64, and with the plain operator in the same type."""
    _require_launcher()
    errors = {
        f"{layer.name} {dtype}": _measure_errors(make_arguments(layer, dtype)) for layer in LAYERS for dtype in DTYPES
    }
    return judge(errors)


def _measure_errors(given: Arguments) -> dict[str, float]:
    import torch

    with torch.inference_mode():
        wanted = run_plain(given.to(torch.float64))
        on_gpu = given.to("cuda")
        return {
            "ours": rms_error(run_kernel(on_gpu).cpu(), wanted),
            "plain": rms_error(run_plain(on_gpu).cpu(), wanted),
        }


def rms_error(got: Tensor, wanted: Tensor) -> float:
    """The root mean square error; infinite if there is a NaN."""
    found = float((got.double() - wanted).square().mean().sqrt())
    return math.inf if math.isnan(found) else found


def judge(errors: dict[str, dict[str, float]]) -> Found:
    """Raise :class:`FailedError` naming the layer whose kernel is worse than :data:`AS_WRONG` times plain."""
    ratios = {name: each["ours"] / each["plain"] for name, each in errors.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    figures = f"{worst}: error {errors[worst]['ours']:.1e}, the plain operator's {errors[worst]['plain']:.1e}"
    if not ratios[worst] <= MAX_ERROR_RATIO:
        raise FailedError(f"{figures}; at most {MAX_ERROR_RATIO:g} times that is allowed", figures={"rms": errors})
    return Found(f"at most {ratios[worst]:.2f} times the error of the plain operator ({figures})", {"rms": errors})


def measure_speed(work: Work) -> Found:  # noqa: ARG001
    """Time every layer in fp16 with our kernel, including the layout of its input, and with the plain operator."""
    _require_launcher()
    import torch

    with torch.inference_mode():
        rows = [
            _measure_layer(make_arguments(layer, "fp16", people).to("cuda")) for layer in LAYERS for people in BATCHES
        ]
    gains = [row["plain_ms"] / row["ours_ms"] for row in rows]
    return Found(f"{min(gains):.1f} to {max(gains):.1f} times as fast as the plain operator, fp16", {"rows": rows})


def _measure_layer(given: Arguments) -> dict[str, Any]:
    fast, slow = time_call(lambda: run_kernel(given)), time_call(lambda: run_plain(given))
    return {"layer": given.layer.name, "batch": len(given.x), "ours_ms": round(fast, 4), "plain_ms": round(slow, 4)}


def time_call(call: Callable[[], object]) -> float:
    """Milliseconds of one of many calls queued together, by the GPU's clock: the best round after one to warm up."""
    import torch

    times = []
    for _ in range(_ROUNDS + 1):
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record()
        for _ in range(_REPEATS):
            call()
        ended.record()
        ended.synchronize()
        times.append(float(began.elapsed_time(ended)) / _REPEATS)
    return min(times[1:])


def _require_launcher() -> None:
    from engines.plugins.deform_conv import torch_cuda

    if not torch_cuda.register():
        raise AbsentError(
            "cuda-bindings, which launches the kernel from PyTorch, is not installed",
            "pip install 'cuda-bindings[all]'",
        )
