"""The folder of an export: written under another name and renamed when it is complete."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.errors import EngineError
from engines.spec.folders import old_of, replace_folder
from engines.spec.manifest import MANIFEST, File, describe_file, is_export

PARTIAL = ".part"
PACKAGES = ("posestream", "torch", "onnx", "onnxscript", "onnxruntime")


@contextmanager
def create_folder(folder: Path, *, force: bool) -> Iterator[Path]:
    """An empty folder to write into, which becomes ``folder`` when the block ends and is removed if the block fails.

    Raises :class:`EngineError` if ``folder`` exists and may not be replaced, and for every OSError.
    """
    check_free(folder, force=force)
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        with _os_errors(folder):
            # A killed export may have left one.
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"export into {str(folder)!r}: {error.strerror or error}; free some space or choose another with --out"
        ) from error


def check_free(folder: Path, *, force: bool) -> None:
    """Raise :class:`EngineError` if ``folder`` exists, unless it is an export and ``force`` replaces it.

    The former export is put back first if another was killed while it took its place.
    """
    if not folder.exists():
        if not is_export(old_of(folder)):
            return
        with _os_errors(folder):
            old_of(folder).rename(folder)
    if not is_export(folder):
        raise EngineError(
            f"export into {str(folder)!r}: it exists and is not an export (no {MANIFEST}); choose another with --out"
        )
    if not force:
        raise EngineError(
            f"export into {str(folder)!r}: it is an export already; "
            "replace it with --force, or choose another folder with --out"
        )


def describe_files(folder: Path) -> dict[str, File]:
    """The size and digest of every file in ``folder``."""
    return {path.name: describe_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def find_versions() -> dict[str, str]:
    """Versions of Python and of the packages that make an export, for its manifest."""
    return {**{name: find_version(name) or "unknown" for name in PACKAGES}, "python": platform.python_version()}


def find_version(package: str) -> str:
    """The installed version of ``package``, '' if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
