"""PyTorch: an exported network from its weights, on CUDA where there is a GPU, else on the processor.

It reads ``manifest.json`` and ``weights.safetensors`` beside the graph that it is given, and runs the network itself
with that graph's inputs and outputs. Modes, joined by ``:`` as in ``torch:compiled:cpu``:

* none: eager, one kernel after the other;
* ``compiled``: by ``torch.compile``, whose first runs take a minute or so;
* ``cudagraphs``: recorded once for each batch, then started by one call;
* ``cuda``, ``cpu``: on that device and no other.

On CUDA an fp16 export computes in half precision where ``engines.backends.pytorch.half_precision`` says that it may. A
processor computes float16 slowly or not at all, so there it runs in float32, as an int8 export does everywhere; maps
that are kept have the type that the export says, always.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.backends.base import check_feeds, check_slots, check_windows
from engines.backends.pytorch import export_module, single_stage_module
from engines.backends.pytorch.execution import Call, Recorded, Tensors, compiled, computing
from engines.backends.pytorch.half_precision import to_mixed_precision
from engines.errors import EngineError
from engines.spec.manifest import MANIFEST, Manifest, Part, PictureManifest, is_export, read_any_manifest
from engines.spec.network import build
from engines.spec.picture_signature import PictureSignature, describe_graph
from engines.spec.signature import Signature
from engines.spec.tensors import Array, Description, Tensor

Runner = Literal["eager", "compiled", "cudagraphs"]

EXAMPLES = 2
"""People while tracing or compiling for any number: a batch of one would be taken for a constant."""


@dataclass(frozen=True)
class Mode:
    """How and where."""

    runner: Runner
    device: Literal["cuda", "cpu"]

    def __str__(self) -> str:
        return self.device if self.runner == "eager" else f"{self.device}, {self.runner}"


def parse_mode(told: str) -> Mode:
    """Read a mode. Raises :class:`EngineError` for one that nobody has, or that this machine cannot do."""
    words = set(told.split("+")) if told else set()
    if unknown := sorted(words - {"compiled", "cudagraphs", "cuda", "cpu"}):
        raise EngineError(
            f"backend 'torch:{told}': there is no mode {unknown[0]!r}; there are compiled, cudagraphs, cuda and cpu, "
            "joined by '+'"
        )
    if {"cuda", "cpu"} <= words or {"compiled", "cudagraphs"} <= words or {"cudagraphs", "cpu"} <= words:
        raise EngineError(f"backend 'torch:{told}': {' and '.join(sorted(words))} exclude each other; choose one")
    has_cuda = torch.cuda.is_available()
    if words & {"cuda", "cudagraphs"} and not has_cuda:
        raise EngineError(
            f"backend 'torch:{told}': PyTorch {torch.__version__} finds no CUDA GPU on this machine; "
            "'posestream doctor' says what is missing, backend=torch:cpu does without"
        )
    runner: Runner = "compiled" if "compiled" in words else "cudagraphs" if "cudagraphs" in words else "eager"
    return Mode(runner, "cuda" if has_cuda and "cpu" not in words else "cpu")


# -- one part of an export, tensors in and tensors out ----------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """An export on a device: its network, filled, and what its manifest says."""

    folder: Path
    manifest: Manifest | PictureManifest
    network: nn.Module
    mode: Mode

    @property
    def computes_in(self) -> str:
        """The type of convolutions and matrix products."""
        return "float16" if self.manifest.precision == "fp16" and self.mode.device == "cuda" else "float32"

    @property
    def device(self) -> str:
        """For people."""
        return f"{self.mode}, {self.computes_in}"


def load(folder: Path, mode: Mode) -> Loaded:
    """Build the network of an export and fill it. Raises :class:`EngineError` in one line for all that can be wrong."""
    if not is_export(folder):
        raise EngineError(
            f"backend 'torch': {folder} is no export (no {MANIFEST}), and PyTorch needs the weights beside a graph; "
            "make one with 'posestream export', or run the .onnx with backend=onnxrt"
        )
    manifest = read_any_manifest(folder)
    if manifest.weights is None:
        raise EngineError(
            f"backend 'torch': export {folder} was made with --no-checkpoint and holds graphs alone; "
            "export it again without that, or run it with backend=onnxrt"
        )
    network = build(manifest.signature.name, manifest.network)
    _fill(network, folder / manifest.weights)
    # Weights with channels last: on a processor FAMI-Pose's compact backbone took 96 ms instead of 145, W48's 2.5 s
    # instead of 2.7. Tensor cores read them so too; on CUDA it was not measured.
    network = network.eval().requires_grad_(False).to(mode.device, memory_format=torch.channels_last)
    return Loaded(folder, manifest, network, mode)


def _fill(network: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:240]
        raise EngineError(
            f"backend 'torch': {path} is not the weights of {type(network).__name__} ({reason}); export it again"
        ) from error


def _use_our_kernel(mode: Mode) -> torch.dtype:
    """Our kernel for deformable convolution where it can be had; the type in which it may compute beside float16.

    PyTorch's own operators, which serve elsewhere, want offsets and maps of one type.
    """
    if mode.device == "cpu":
        return torch.float32
    from engines.plugins.deform_conv import torch_cuda

    return torch.float16 if torch_cuda.register() else torch.float32


def describe(loaded: Loaded, part: Part) -> Description:
    """What the graph of this part would say."""
    signature = loaded.manifest.signature
    if isinstance(signature, PictureSignature):
        return describe_graph(signature, loaded.device)
    points = (Tensor("points", (None, len(signature.joints), 3), "float32"),)
    kept = tuple(Tensor(f"maps_{i}", (None, *shape), signature.kept_type) for i, shape in enumerate(signature.keeps))
    if part == "head":
        windows = tuple(Tensor(t.name, (None, signature.frames, *t.shape[1:]), t.dtype) for t in kept)
        return Description(windows, points, loaded.device)
    frames = signature.input_shape if part == "fused" else signature.input_shape[1:]
    outputs = kept if part == "backbone" else points
    return Description((Tensor("crops", (None, *frames), signature.pixel),), outputs, loaded.device)


def make_runner(loaded: Loaded, part: Part, inputs: Sequence[Tensor]) -> Call:
    """The part as a call: tensors on the device in, a tuple of them out."""
    module = _module(loaded, part).to(loaded.mode.device)
    deformed = _use_our_kernel(loaded.mode)
    if loaded.computes_in == "float16":
        module = to_mixed_precision(module, _examples(inputs, loaded.mode), deformed=deformed)
    if loaded.mode.runner == "compiled":
        return _compiled(module, _examples(inputs, loaded.mode))
    return Recorded(module) if loaded.mode.runner == "cudagraphs" else module


def _module(loaded: Loaded, part: Part) -> nn.Module:
    signature = loaded.manifest.signature
    if isinstance(signature, PictureSignature):
        return single_stage_module.shipped(loaded.network, signature)
    return export_module.shipped(part, loaded.network, signature)


def _compiled(module: nn.Module, examples: Tensors) -> Call:
    try:
        return compiled(module, examples)
    except Exception as error:
        raise EngineError(
            f"backend 'torch:compiled': torch.compile cannot compile it here ({_first_line(error)}); "
            "it needs a C++ compiler on the processor and Triton on CUDA; choose backend=torch"
        ) from error


def _examples(inputs: Sequence[Tensor], mode: Mode) -> Tensors:
    return tuple(
        torch.zeros([size or EXAMPLES for size in tensor.shape], dtype=getattr(torch, tensor.dtype), device=mode.device)
        for tensor in inputs
    )


def to_device(array: Array, mode: Mode) -> torch.Tensor:
    """With memory of its own where PyTorch cannot read the array's, or would warn that it may not write to it."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(mode.device)


def to_host(description: Description, tensors: Tensors) -> dict[str, Array]:
    """Named arrays that belong to the caller."""
    return {tensor.name: made.cpu().numpy() for tensor, made in zip(description.outputs, tensors, strict=True)}


# -- what the project knows of them -----------------------------------------------------------------------------------


class PyTorch:
    """One graph's part of an export, run by PyTorch."""

    def __init__(self, path: Path, threads: int, mode: Mode) -> None:
        self.path, self.threads, self.mode = path, threads, mode
        self._call: Call | None = None
        self._description: Description | None = None

    def open(self) -> None:
        if self._call is None:
            loaded = load(self.path.parent, self.mode)
            part = _part_called(self.path, loaded.manifest)
            description = describe(loaded, part)
            with computing(self.threads):
                self._call = make_runner(loaded, part, description.inputs)
            self._description = description

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        description, call = self.describe(), self._call
        check_feeds(self.path.name, description.inputs, feeds)
        assert call is not None  # it is, once there is a description
        with computing(self.threads), _in_one_line(self.path.name):
            inputs = [to_device(feeds[tensor.name], self.mode) for tensor in description.inputs]
            return to_host(description, call(*inputs))

    def close(self) -> None:
        self._call = self._description = None
        _give_back(self.mode)


class DeviceFeatureCache:
    """Backbone and head of an export, and the maps of ``slots`` frames between them, all on the device."""

    def __init__(self, backbone: Path, head: Path, slots: int, threads: int, mode: Mode) -> None:
        self.backbone, self.head, self.slots = backbone, head, slots
        self.threads, self.mode = threads, mode
        self._calls: tuple[Call, ...] = ()
        self._description: Description | None = None
        self._maps: Tensors = ()

    def open(self) -> None:
        if self._description is not None:
            return
        loaded = load(self.backbone.parent, self.mode)
        first, last = describe(loaded, "backbone"), describe(loaded, "head")
        with computing(self.threads), _in_one_line(self._name):
            self._calls = make_runner(loaded, "backbone", first.inputs), make_runner(loaded, "head", last.inputs)
            self._maps = tuple(self._empty(tensor) for tensor in first.outputs)
        signature = loaded.manifest.signature
        assert isinstance(signature, Signature)  # only networks of crops are cut in two
        self._description = Description(first.inputs, last.outputs, loaded.device, frames=signature.frames)

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self._name}: its ring is not open; call open() before it is used")
        return self._description

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        inputs = self.describe().inputs
        check_feeds(self._name, inputs, {inputs[0].name: crops})
        check_slots(slots, crops, self.slots)
        backbone, _ = self._calls
        with computing(self.threads), _in_one_line(self._name):
            places = to_device(slots, self.mode)
            for kept, maps in zip(self._maps, backbone(to_device(crops, self.mode)), strict=True):
                kept.index_copy_(0, places, maps)

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        description = self.describe()
        check_windows(windows, description.frames, self.slots)
        _, head = self._calls
        with computing(self.threads), _in_one_line(self._name):
            places = to_device(windows, self.mode)
            return to_host(description, head(*(kept[places] for kept in self._maps)))

    def close(self) -> None:
        self._description = None
        self._calls, self._maps = (), ()
        _give_back(self.mode)

    @property
    def _name(self) -> str:
        return self.backbone.parent.name

    def _empty(self, tensor: Tensor) -> torch.Tensor:
        shape = [self.slots, *(size or 1 for size in tensor.shape[1:])]
        return torch.zeros(shape, dtype=getattr(torch, tensor.dtype), device=self.mode.device)


@contextlib.contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """What PyTorch raises, above all for memory, as one line."""
    try:
        yield
    except EngineError:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise EngineError(
            f"{name}: the GPU has no memory left for it ({_first_line(error)}); lower max_batch or people, "
            "or free the GPU (nvidia-smi lists who uses it)"
        ) from error
    except Exception as error:
        raise EngineError(f"{name}: PyTorch could not run it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]


def _give_back(mode: Mode) -> None:
    """PyTorch keeps freed memory of a GPU for itself unless told."""
    if mode.device == "cuda":
        torch.cuda.empty_cache()


def _part_called(path: Path, manifest: Manifest | PictureManifest) -> Part:
    for part, name in manifest.graphs.items():
        if name == path.name:
            return part
    raise EngineError(
        f"backend 'torch': {path} is not a graph of its export, which has {', '.join(manifest.graphs.values())}"
    )


def create(path: Path, *, threads: int = 1, mode: str = "") -> PyTorch:
    """What ``make_backend`` calls; ``mode`` as at the top of this file."""
    return PyTorch(path, threads, parse_mode(mode))


def create_feature_cache(
    backbone: Path, head: Path, *, slots: int, threads: int = 1, mode: str = ""
) -> DeviceFeatureCache:
    """What ``make_feature_cache`` calls."""
    return DeviceFeatureCache(backbone, head, slots, threads, parse_mode(mode))
