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


def is_at(path: Path, file: FileIdentity | None) -> bool:
    """True while this file is at the path; False for None, a file that was removed before it was identified."""
    return file is not None and identify(path) == file
