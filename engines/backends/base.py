"""What every backend promises: a model file made ready to run. One file a backend; the file name is the registry.

A backend knows nothing of people, crops or keypoints: it takes named arrays and gives named arrays. A new one is one
module ``engines/backends/<name>.py`` with a ``create`` of the signature below, and is judged by
``engines.testing.backends.check_backend``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor


class Backend(Protocol):
    """A model file on one device. Calls come from one thread at a time."""

    def open(self) -> None:
        """Load the file. Raises :class:`EngineError` in one line naming the file. Idempotent."""

    def describe(self) -> Description:
        """Inputs and outputs. Raises :class:`EngineError` unless open."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output by name; arrays belong to the caller and are never written again.

        Raises :class:`EngineError` when an input is missing or unknown, or does not fit, naming both shapes.
        """

    def close(self) -> None:
        """Give back memory and device; idempotent. The backend may be opened again."""


class FeatureRing(Protocol):
    """A network that is cut in two, and the maps of frames it keeps between them, where it runs.

    Slots are numbered from 0; who calls decides which frame lies in which, and never reads a slot it has not filled.
    Calls come from one thread at a time.
    """

    def open(self) -> None:
        """Load both graphs and take the memory of all slots. Raises :class:`EngineError`. Idempotent."""

    def describe(self) -> Description:
        """Input of the backbone and outputs of the head, as a :class:`Backend` of the whole would say."""

    def keep(self, slots: NDArray[np.intp], crops: Array) -> None:
        """Run the backbone over ``crops`` (n, ...), one person in one frame each; keep its maps in ``slots`` (n,)."""

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """Run the head over ``windows`` (B, T) of slots, in order of time: every output by name."""

    def close(self) -> None:
        """Give back memory and device; idempotent."""


MODULES = {"torch": "pytorch.backend", "tensorrt": "trt"}
"""Where a backend's file cannot be called as the backend is, since a library is called so."""

EXTRAS = {"pytorch.backend": "posestream[torch]", "trt": "posestream[tensorrt]"}
"""What to install for a backend's file."""

NOT_BACKENDS = ("base", "auto", "host_cache")
"""Files of this folder that serve backends and are none."""


def make_backend(path: Path, name: str = "auto", threads: int = 1) -> Backend:
    """The backend ``name`` for ``path``, not yet open. Raises :class:`EngineError` for a name that nobody has.

    ``name`` is ``<backend>`` or ``<backend>:<mode>``, such as ``onnxrt:cuda`` or ``torch:compiled``; ``auto`` is what
    ``engines.backends.auto`` picks.
    """
    module, options = _module(_resolved(name, path))
    return cast(Callable[..., Backend], module.create)(path, threads=threads, **options)


def make_ring(backbone: Path, head: Path, slots: int, name: str = "auto", threads: int = 1) -> FeatureRing:
    """The ring of ``slots`` frames for a network cut in two, by the same backend names; not yet open.

    A backend whose module has no ``create_ring`` keeps its maps in the host's memory.
    """
    module, options = _module(_resolved(name, backbone, head))
    if hasattr(module, "create_ring"):
        return cast(Callable[..., FeatureRing], module.create_ring)(
            backbone, head, slots=slots, threads=threads, **options
        )
    from engines.backends.host_cache import HostRing

    create = cast(Callable[..., Backend], module.create)
    first, second = (create(part, threads=threads, **options) for part in (backbone, head))
    return HostRing(first, second, slots)


def _resolved(name: str, *graphs: Path) -> str:
    if name != "auto":
        return name
    from engines.backends.auto import choose

    return choose(*graphs).name


def _module(name: str) -> tuple[ModuleType, dict[str, str]]:
    """The module of a backend and the options that its name carries."""
    backend, _, mode = name.partition(":")
    chosen = MODULES.get(backend, backend)
    try:
        module = importlib.import_module(f"engines.backends.{chosen}")
    except ModuleNotFoundError as error:
        raise EngineError(f"backend {name!r}: {_missing(chosen, error)}") from error
    return module, {"mode": mode} if mode else {}


def _missing(chosen: str, error: ModuleNotFoundError) -> str:
    if error.name == f"engines.backends.{chosen}":
        known = sorted(names())
        return f"there is no such backend; choose auto or one of {', '.join(known)}"
    remedy = f": pip install {EXTRAS[chosen]!r}" if chosen in EXTRAS else ""
    return f"it needs the Python package {error.name!r}, which is not installed{remedy}"


def names() -> tuple[str, ...]:
    """Every backend there is a file for, whether or not its library is installed."""
    called = {module.partition(".")[0]: name for name, module in MODULES.items()}
    here = (entry.stem for entry in Path(__file__).parent.iterdir() if not entry.name.startswith(("_", ".")))
    return tuple(sorted(called.get(stem, stem) for stem in here if stem not in NOT_BACKENDS))


def check_feeds(model: str, inputs: tuple[Tensor, ...], feeds: Mapping[str, Array]) -> None:
    """Raises :class:`EngineError`, naming both sides, unless ``feeds`` are exactly what ``inputs`` ask for."""
    names = {tensor.name for tensor in inputs}
    if names != feeds.keys():
        raise EngineError(f"{model}: its inputs are {sorted(names)}, but it was fed {sorted(feeds)}")
    for tensor in inputs:
        given = feeds[tensor.name]
        if not tensor.takes(given.shape) or str(given.dtype) != tensor.dtype:
            raise EngineError(
                f"{model}: its input {tensor.name!r} is {tensor}, but it was fed {given.shape} {given.dtype}"
            )


def check_kept(slots: NDArray[np.intp], crops: Array, total: int) -> None:
    """Raises :class:`EngineError` unless ``slots`` (n,) are of a ring of ``total``, one for each of ``crops``."""
    if slots.shape != (len(crops),):
        raise EngineError(
            f"a ring of {total} slots: {len(crops)} crops need slots of shape ({len(crops)},), "
            f"but it was given {slots.shape}"
        )
    _check_slots(slots, total)


def check_windows(windows: NDArray[np.intp], frames: int | None, total: int) -> None:
    """Raises :class:`EngineError` unless ``windows`` are (B, ``frames``) slots of a ring of ``total``."""
    if windows.ndim != 2 or frames not in (None, windows.shape[1]):
        raise EngineError(
            f"a ring of {total} slots: its head takes windows (B, {frames or 'any'}), but it was given {windows.shape}"
        )
    _check_slots(windows, total)


def _check_slots(slots: NDArray[np.intp], total: int) -> None:
    wrong = slots[(slots < 0) | (slots >= total)]
    if wrong.size:
        raise EngineError(f"a ring of {total} slots: there is no slot {wrong[0]}; give 0 to {total - 1}")


def check_cut(gives: tuple[Tensor, ...], takes: tuple[Tensor, ...]) -> None:
    """Raises :class:`EngineError` unless a head that ``takes`` windows (N, T, ...) takes what a backbone ``gives``."""
    fits = len(gives) == len(takes) and all(
        one.dtype == other.dtype and None not in one.shape[1:] and one.shape[1:] == other.shape[2:]
        for one, other in zip(gives, takes, strict=True)
    )
    if not fits:
        raise EngineError(
            f"the backbone gives {', '.join(map(str, gives))}, its head takes {', '.join(map(str, takes))}; "
            "they are not of one export"
        )
