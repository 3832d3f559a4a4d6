"""What cameras, elements and queues may be called."""

from __future__ import annotations

from stream.errors import PropertyError

MAX_NAME_BYTES = 100
"""Of elements and queues, which files in the run directory are called after."""

_UNREADABLE = "is blank or has characters that cannot be printed"


def check_camera_name(camera: str, owner: str, remedy: str = "set camera= to another one") -> None:
    """Raise :class:`PropertyError` for a name of a camera that cannot be read.

    >>> check_camera_name(" ", "testsrc")
    Traceback (most recent call last):
    stream.errors.PropertyError: testsrc: the camera name ' ' is blank or has characters ...; set camera= to another one
    """
    if _is_unreadable(camera):
        raise PropertyError(f"{owner}: the camera name {camera!r} {_UNREADABLE}; {remedy}")


def check_name(name: str, owner: str) -> None:
    """Raise :class:`PropertyError` for a name of an element or queue that cannot be read, or not be that of a file."""
    if _is_unreadable(name):
        raise PropertyError(f"{owner}: name={name!r} {_UNREADABLE}; choose another")
    if "/" in name:
        raise PropertyError(f"{owner}: name={name!r} has a slash, and files are called after it; choose another")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise PropertyError(
            f"{owner}: name={name[:20]!r}… has {len(name.encode())} bytes; choose one of at most {MAX_NAME_BYTES}"
        )


def _is_unreadable(name: str) -> bool:
    return not name.strip() or not name.isprintable()
