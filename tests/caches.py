"""Folders that a test fills once and keeps. They are whole even when several workers ask for one at the same time."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def cache_folder(request: pytest.FixtureRequest, name: str) -> Path:
    """The folder ``name`` in pytest's cache, or one for this run if that cache is switched off."""
    if request.config.pluginmanager.hasplugin("cacheprovider"):
        return request.config.cache.mkdir(name)
    folder: Path = request.getfixturevalue("tmp_path_factory").getbasetemp() / name
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock beside ``folder``. The system releases it when the process ends, however it ends."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fill_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """``folder``; if it does not exist, ``fill`` is called with an empty folder, which then becomes ``folder``.

    Of several processes that ask at once, one fills and the others wait. If ``fill`` raises, nothing is left behind.
    """
    with exclusive(folder):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as workspace:
                content = Path(workspace, "content")
                content.mkdir()
                fill(content)
                content.rename(folder)
    return folder
