"""The backend ``torch``: an exported network in PyTorch, on CUDA if there is a GPU, else on the CPU.

It reads ``manifest.json`` and ``weights.safetensors`` beside the graph, and runs the network with the inputs and
outputs of that graph. Modes, joined by ``+`` as in ``torch:compiled+cpu``:

* none: eager;
* ``compiled``: by ``torch.compile``, which takes about a minute on opening;
* ``cudagraphs``: recorded as a CUDA graph for each batch;
* ``cuda``, ``cpu``: on that device only.

On CUDA an fp16 export computes in mixed precision (``engines.backends.pytorch.half_precision``). On a CPU, which
computes float16 slowly or not at all, it computes in float32, as an int8 export does everywhere. Cached feature maps
always have the dtype of the export.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.backends.base import check_feeds, check_slots, check_windows
from engines.backends.cores import Threads
from engines.backends.pytorch.execution import Call, Tensors, inference_mode
from engines.backends.pytorch.loading import describe_part, find_part, load_export, make_call
from engines.backends.pytorch.modes import Mode, parse_mode
from engines.errors import EngineError, first_line
from engines.spec.signature import Signature
from engines.spec.tensors import Array, Description, Tensor


class PyTorch:
    """One graph of an export in PyTorch; a :class:`engines.backends.base.Backend`."""

    def __init__(self, path: Path, threads: int, mode: Mode) -> None:
        self.path, self.threads, self.mode = path, threads, mode
        self._call: Call | None = None
        self._description: Description | None = None

    def open(self) -> None:
        if self._call is None:
            loaded = load_export(self.path.parent, self.mode)
            part = find_part(self.path, loaded.manifest)
            description = describe_part(loaded, part)
            with inference_mode(self.threads):
                self._call = make_call(loaded, part, description.inputs)
            self._description = description

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        description, call = self.describe(), self._call
        check_feeds(self.path.name, description.inputs, feeds)
        assert call is not None  # it is set together with the description
        with inference_mode(self.threads), _translate_errors(self.path.name):
            inputs = [_to_device(feeds[tensor.name], self.mode) for tensor in description.inputs]
            return _to_host(description, call(*inputs))

    def close(self) -> None:
        self._call = self._description = None
        _free_memory(self.mode)


class DeviceFeatureCache:
    """A :class:`engines.backends.base.FeatureCache` whose feature maps stay on the device."""

    def __init__(self, backbone: Path, head: Path, slots: int, threads: int, mode: Mode) -> None:
        self.backbone, self.head, self.slots = backbone, head, slots
        self.threads, self.mode = threads, mode
        self._calls: tuple[Call, ...] = ()
        self._description: Description | None = None
        self._maps: Tensors = ()

    def open(self) -> None:
        if self._description is not None:
            return
        loaded = load_export(self.backbone.parent, self.mode)
        backbone, head = describe_part(loaded, "backbone"), describe_part(loaded, "head")
        with inference_mode(self.threads), _translate_errors(self._name):
            self._calls = make_call(loaded, "backbone", backbone.inputs), make_call(loaded, "head", head.inputs)
            self._maps = tuple(self._allocate(tensor) for tensor in backbone.outputs)
        signature = loaded.manifest.signature
        assert isinstance(signature, Signature)  # single-stage networks have no backbone and head
        self._description = Description(backbone.inputs, head.outputs, loaded.device, frames=signature.frames)

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self._name}: its feature cache is not open; call open() first")
        return self._description

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        inputs = self.describe().inputs
        check_feeds(self._name, inputs, {inputs[0].name: crops})
        check_slots(slots, crops, self.slots)
        backbone, _ = self._calls
        with inference_mode(self.threads), _translate_errors(self._name):
            indices = _to_device(slots, self.mode)
            for stored, maps in zip(self._maps, backbone(_to_device(crops, self.mode)), strict=True):
                stored.index_copy_(0, indices, maps)

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        description = self.describe()
        check_windows(windows, description.frames, self.slots)
        _, head = self._calls
        with inference_mode(self.threads), _translate_errors(self._name):
            indices = _to_device(windows, self.mode)
            return _to_host(description, head(*(stored[indices] for stored in self._maps)))

    def close(self) -> None:
        self._description = None
        self._calls, self._maps = (), ()
        _free_memory(self.mode)

    @property
    def _name(self) -> str:
        return self.backbone.parent.name

    def _allocate(self, tensor: Tensor) -> torch.Tensor:
        shape = [self.slots, *(size or 1 for size in tensor.shape[1:])]
        return torch.zeros(shape, dtype=getattr(torch, tensor.dtype), device=self.mode.device)


def _to_device(array: Array, mode: Mode) -> torch.Tensor:
    """The array as a tensor, copied first if PyTorch cannot read its memory or would warn that it is read-only."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(mode.device)


def _to_host(description: Description, tensors: Tensors) -> dict[str, Array]:
    """Arrays by name that belong to the caller."""
    return {tensor.name: output.cpu().numpy() for tensor, output in zip(description.outputs, tensors, strict=True)}


@contextlib.contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Raise PyTorch's errors as :class:`EngineError`."""
    try:
        yield
    except EngineError:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise EngineError(
            f"{name}: the GPU has no memory left for it ({first_line(error)}); lower max_batch or people, "
            "or free the GPU (nvidia-smi lists who uses it)"
        ) from error
    except Exception as error:
        raise EngineError(f"{name}: PyTorch could not run it: {first_line(error)}") from error


def _free_memory(mode: Mode) -> None:
    """Return freed GPU memory to the driver; PyTorch keeps it otherwise."""
    if mode.device == "cuda":
        torch.cuda.empty_cache()


def create(path: Path, *, threads: Threads = "auto", mode: str = "") -> PyTorch:
    """A backend for the graph at ``path``, not yet open; ``mode`` as in the module's documentation."""
    return PyTorch(path, _count(threads), parse_mode(mode))


def create_feature_cache(
    backbone: Path, head: Path, *, slots: int, threads: Threads = "auto", mode: str = ""
) -> DeviceFeatureCache:
    """A feature cache of ``slots`` crops, not yet open; ``mode`` as in the module's documentation."""
    return DeviceFeatureCache(backbone, head, slots, _count(threads), parse_mode(mode))


def _count(threads: Threads) -> int:
    """One for ``auto``: PyTorch's threads spin while they wait for each other, at the cost of the rest of a line."""
    return 1 if threads == "auto" else threads
