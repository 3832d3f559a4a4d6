"""Folders that are written beside their place and moved there when they are complete."""

from __future__ import annotations

import shutil
from pathlib import Path


def old_of(folder: Path) -> Path:
    """Where the former ``folder`` is while a new one takes its place; a kill in between leaves it there."""
    return folder.with_name(f"{folder.name}.old")


def replace_folder(new: Path, folder: Path) -> None:
    """Move ``new`` to ``folder`` and remove what was there, which stays as :func:`old_of` until then.

    At a kill in between, at least one of the three is whole. Raises ``OSError``.
    """
    old = old_of(folder)
    if folder.exists():
        if old.exists():  # a replacement was killed while it removed this
            shutil.rmtree(old)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
