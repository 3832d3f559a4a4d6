"""Which file is at a path: it may be removed, or replaced by another of the same name, while it is in use."""

from __future__ import annotations

from pathlib import Path

FileIdentity = tuple[int, int]
"""The device and inode of a file."""


def identify(path: Path) -> FileIdentity | None:
    """What is at the path, a link itself if it is one; None where nothing is."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
