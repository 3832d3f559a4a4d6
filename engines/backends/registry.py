"""Backends by name: the file name is the registry, and a backend's library is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

from engines.backends.auto import choose
from engines.backends.base import Backend, FeatureCache
from engines.backends.host_cache import HostFeatureCache
from engines.errors import EngineError

MODULES = {"torch": "pytorch.backend", "tensorrt": "trt"}
"""Where a backend's file cannot be called as the backend is, since a library is called so."""

EXTRAS = {"pytorch.backend": "posestream[torch]", "trt": "posestream[tensorrt]"}
"""What to install for a backend's file."""

NOT_BACKENDS = ("auto", "base", "host_cache", "registry")
"""Files of this folder that serve backends and are none."""


def make_backend(path: Path, name: str = "auto", threads: int = 1) -> Backend:
    """The backend ``name`` for ``path``, not yet open. Raises :class:`EngineError` for a name that nobody has.

    ``name`` is ``<backend>`` or ``<backend>:<mode>``, such as ``onnxrt:cuda`` or ``torch:compiled``; ``auto`` is what
    ``engines.backends.auto`` picks.
    """
    module, options = _module(_resolved(name, path))
    return cast(Callable[..., Backend], module.create)(path, threads=threads, **options)


def make_feature_cache(backbone: Path, head: Path, slots: int, name: str = "auto", threads: int = 1) -> FeatureCache:
    """The ring of ``slots`` frames for a network cut in two, by the same backend names; not yet open.

    A backend whose module has no ``create_feature_cache`` keeps its maps in the host's memory.
    """
    module, options = _module(_resolved(name, backbone, head))
    if hasattr(module, "create_feature_cache"):
        return cast(Callable[..., FeatureCache], module.create_feature_cache)(
            backbone, head, slots=slots, threads=threads, **options
        )
    create = cast(Callable[..., Backend], module.create)
    first, second = (create(part, threads=threads, **options) for part in (backbone, head))
    return HostFeatureCache(first, second, slots)


def _resolved(name: str, *graphs: Path) -> str:
    if name != "auto":
        return name
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
