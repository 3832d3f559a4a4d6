"""Detects a package that Python imports in place of one of posestream's.

Posestream's packages have plain names. A script ``export.py`` or a folder ``configs/`` beside your program, or a
package of another distribution, is imported instead when it comes first on Python's path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

RUN_PACKAGES = ("configs", "engines", "stream")
"""What estimating needs."""
PACKAGES = (*RUN_PACKAGES, "export")
DISTRIBUTION = "posestream"

_ROOT = Path(__file__).resolve().parents[1]
"""The folder of this package, in which its neighbours lie too."""


class ShadowedPackageError(ImportError):
    """A package of posestream's cannot be imported because another of the same name comes first.

    It is no :class:`~engines.errors.PosestreamError`, since ``engines`` may be the very package that is missing.
    """


def import_ours(module: str) -> ModuleType:
    """Import a module of posestream's packages. Raises :class:`ShadowedPackageError`."""
    check_packages(PACKAGES if module == "posestream.exporting" else RUN_PACKAGES)
    try:
        return import_module(module)
    except ImportError as error:
        check_overwritten(error)
        raise


def check_packages(names: Iterable[str] = PACKAGES) -> None:
    """Raise :class:`ShadowedPackageError` where one of posestream's packages would be imported from elsewhere."""
    for name in names:
        place = _find(name)
        if place is None:
            raise ShadowedPackageError(
                f"posestream's package {name!r} is missing from {_ROOT}; install it again: "
                f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
            )
        if place != _ROOT / name:
            raise ShadowedPackageError(_explain(name, place))


def check_overwritten(error: ImportError) -> None:
    """Raise :class:`ShadowedPackageError` where another distribution has put its files into posestream's packages."""
    name = (error.name or "").partition(".")[0]
    others = _owners(name) if name in PACKAGES else []
    if others:
        raise ShadowedPackageError(
            f"{_ROOT / name} is posestream's package, but distribution {others[0]!r} has installed one of the same "
            "name over it; install posestream in a virtual environment of its own"
        ) from error


def _find(name: str) -> Path | None:
    """The folder, or the file of a single module, that ``import name`` finds or has found."""
    if (module := sys.modules.get(name)) is not None:
        origin, folders = getattr(module, "__file__", None), getattr(module, "__path__", None)
    elif (spec := find_spec(name)) is not None:
        origin, folders = spec.origin, spec.submodule_search_locations
    else:
        return None
    if origin is None:  # a folder without __init__.py
        return Path(next(iter(folders or ()), name)).resolve()
    file = Path(origin).resolve()
    return file.parent if file.name == "__init__.py" else file


def _explain(name: str, place: Path) -> str:
    owners = _owners(name) if {"site-packages", "dist-packages"} & set(place.parts) else []
    if owners:
        return (
            f"{place} belongs to distribution {owners[0]!r} and shadows posestream's package {name!r}; "
            "install posestream in a virtual environment of its own"
        )
    return (
        f"{place} shadows posestream's package {name!r}; rename it, or keep its folder off Python's path "
        "(python -P, or unset PYTHONPATH)"
    )


def _owners(name: str) -> list[str]:
    """The distributions other than posestream that install a package called so."""
    from importlib.metadata import packages_distributions  # takes 20 ms, and is needed for an error only

    return [owner for owner in packages_distributions().get(name, ()) if owner != DISTRIBUTION]
