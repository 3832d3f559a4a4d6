"""Our deformable convolution: compiled for this GPU, held to float64, timed against the plain operator."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.plugins.deform_conv.compiler import compile_cubin, compile_ptx, find_nvrtc_version
from engines.plugins.deform_conv.spec import DeformConvSpec, DType
from export.gpu_selftest.machine import architecture
from export.gpu_selftest.results import AbsentError, FailedError, Found, Work

if TYPE_CHECKING:
    from torch import Tensor

ELSEWHERE = ("sm_75", "sm_90", "sm_120")
"""What it is compiled for where there is no GPU: the oldest it is for, one between, the newest."""

AS_WRONG = 2.0
"""Its error may be so many times the plain operator's in the same precision, both against float64."""

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
        """The kernel that PyTorch's operator takes for it: NHWC where eight channels or more share their points."""
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


def compiled(work: Work) -> Found:  # noqa: ARG001 - every step is given it
    """All layers for the GPU that is here, machine code and PTX; one of them for several where there is none."""
    if find_nvrtc_version() is None and shutil.which("nvcc") is None:
        raise AbsentError("no compiler for CUDA is here, neither NVRTC nor nvcc", "pip install 'cuda-bindings[all]'")
    here = architecture()
    layers, targets = (LAYERS, (here,)) if here else ((FAMI,), ELSEWHERE)
    sizes = {
        f"{layer.name} {dtype} {target}": _compiled(layer.spec(dtype), target)
        for target in targets
        for layer in layers
        for dtype in DTYPES
    }
    return Found(f"{len(sizes)} kernels for {', '.join(targets)}", {"bytes": sizes})


def _compiled(spec: DeformConvSpec, target: str) -> dict[str, int]:
    return {"cubin": len(compile_cubin(spec, target)), "ptx": len(compile_ptx(spec, target))}


# -- on the GPU --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arguments:
    """What the operator for several dilations takes, one of each list a dilation."""

    layer: Layer
    x: Tensor
    offsets: list[Tensor]
    masks: list[Tensor]
    weights: list[Tensor]
    biases: list[Tensor]

    def to(self, *told: Any) -> Arguments:
        """All tensors by ``Tensor.to``."""
        lists = ([tensor.to(*told) for tensor in one] for one in (self.offsets, self.masks, self.weights, self.biases))
        return Arguments(self.layer, self.x.to(*told), *lists)


def drawn(layer: Layer, dtype: DType, people: int = _PEOPLE, size: tuple[int, int] = (_HEIGHT, _WIDTH)) -> Arguments:
    """Random tensors whose results are of order one, rounded to ``dtype``, offsets too: so all compute the same."""
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


def plain(given: Arguments) -> Tensor:
    """By PyTorch's operators, in the type of the tensors and where they lie."""
    from engines.layers.deform_dilated import dilated_reference

    layer = given.layer
    lists = (given.offsets, given.masks, given.weights, given.biases)
    return dilated_reference(given.x, *lists, layer.dilations, layer.groups)


def ours(given: Arguments) -> Tensor:
    """By our kernel. Raises :class:`FailedError` where it would leave this to the plain operator."""
    from engines.plugins.deform_conv.torch_cuda import Settings, launch_on_device, prepare_call

    layer = given.layer
    settings = Settings(1, layer.dilations, layer.dilations, layer.groups)
    offsets, masks, weights, biases = map(tuple, (given.offsets, given.masks, given.weights, given.biases))
    call = prepare_call(given.x, offsets, masks, weights, biases, settings)
    if call is None:
        raise FailedError(f"the kernel does not take {layer.name} in {given.x.dtype}; the plain operator would be used")
    launch_on_device(call)
    return call.out


def exact(work: Work) -> Found:  # noqa: ARG001
    """Every layer in every type against float64, beside the plain operator in the same type."""
    _require_launcher()
    errors = {f"{layer.name} {dtype}": _errors(drawn(layer, dtype)) for layer in LAYERS for dtype in DTYPES}
    return judged(errors)


def _errors(given: Arguments) -> dict[str, float]:
    import torch

    with torch.inference_mode():
        wanted = plain(given.to(torch.float64))
        on_gpu = given.to("cuda")
        return {"ours": error(ours(on_gpu).cpu(), wanted), "plain": error(plain(on_gpu).cpu(), wanted)}


def error(got: Tensor, wanted: Tensor) -> float:
    """Root of the mean square; infinite where something is no number."""
    found = float((got.double() - wanted).square().mean().sqrt())
    return found if found == found else float("inf")


def judged(errors: dict[str, dict[str, float]]) -> Found:
    """Raise :class:`FailedError` naming the layer whose kernel is worse than :data:`AS_WRONG` times plain."""
    ratios = {name: each["ours"] / each["plain"] for name, each in errors.items()}
    worst = max(ratios, key=lambda name: ratios[name])
    told = f"{worst}: error {errors[worst]['ours']:.1e}, the plain operator's {errors[worst]['plain']:.1e}"
    if not ratios[worst] <= AS_WRONG:
        raise FailedError(f"{told}; at most {AS_WRONG:g} times that is allowed", figures={"rms": errors})
    return Found(f"at most {ratios[worst]:.2f} times as wrong as the plain operator ({told})", {"rms": errors})


def speed(work: Work) -> Found:  # noqa: ARG001
    """Every layer in fp16 by our kernel, laying out its input included, and by the plain operator."""
    _require_launcher()
    import torch

    with torch.inference_mode():
        rows = [_timed(drawn(layer, "fp16", people).to("cuda")) for layer in LAYERS for people in BATCHES]
    gains = [row["plain_ms"] / row["ours_ms"] for row in rows]
    return Found(f"{min(gains):.1f} to {max(gains):.1f} times as fast as the plain operator, fp16", {"rows": rows})


def _timed(given: Arguments) -> dict[str, Any]:
    fast, slow = milliseconds(lambda: ours(given)), milliseconds(lambda: plain(given))
    return {"layer": given.layer.name, "batch": len(given.x), "ours_ms": round(fast, 4), "plain_ms": round(slow, 4)}


def milliseconds(call: Callable[[], object]) -> float:
    """On the GPU's own clock, of one of many calls queued together: the best of some rounds, after one to warm up."""
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
        raise AbsentError("what launches the kernel from PyTorch is not here", "pip install 'cuda-bindings[all]'")
