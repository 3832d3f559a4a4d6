"""The folder of an export: made beside its place under another name, and put there whole or not at all."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engines.errors import EngineError
from engines.spec.manifest import MANIFEST, File, describe_file, is_export

PARTIAL = ".part"
PACKAGES = ("posestream", "torch", "onnx", "onnxscript", "onnxruntime")


@contextmanager
def made_whole(folder: Path, *, force: bool) -> Iterator[Path]:
    """Gives an empty folder to write into; it takes its place when the block ends, and is removed if that fails.

    Raises :class:`EngineError` where something is there already that may not be replaced, and for whatever the disk
    refuses.
    """
    check_free(folder, force=force)
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        # One that was left by a killed export.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _put_in_place(partial, folder)
    except OSError as error:
        raise EngineError(
            f"export into {str(folder)!r}: {error.strerror or error}; give another folder with --out, or make room"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(folder: Path, *, force: bool) -> None:
    """Raise :class:`EngineError` unless ``folder`` is not there, or is an export that ``force`` gives up."""
    if not folder.exists():
        return
    if not is_export(folder):
        raise EngineError(f"export into {str(folder)!r}: something else is there ({MANIFEST} is not in it); give --out")
    if not force:
        raise EngineError(
            f"export into {str(folder)!r}: an export is there already; "
            "--force replaces it, --out FOLDER puts it elsewhere"
        )


def _put_in_place(partial: Path, folder: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def files_of(folder: Path) -> dict[str, File]:
    """The size and digest of every file in it."""
    return {path.name: describe_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def versions() -> dict[str, str]:
    """What made it."""
    told = {name: _version(name) for name in PACKAGES}
    return {**told, "python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
