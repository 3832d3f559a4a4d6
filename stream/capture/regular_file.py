"""Regular files: they can be opened more than once, and reading them never waits."""

from __future__ import annotations

import stat
from pathlib import Path

from stream.errors import SourceError


def check_regular(path: Path) -> None:
    """Raise :class:`SourceError` for a pipe, a socket or a device, which may be read once only, or never end.

    ``/dev/stdin`` and the like are refused whatever they are: another process, as a part is, has its own.
    """
    kind = "what one process has open" if str(path).startswith(_OPEN_FILES) else describe_kind(path)
    if kind:
        raise SourceError(f"{str(path)!r} is {kind}, not a file; {_find_remedy(kind, path)}")


def _find_remedy(kind: str, path: Path) -> str:
    if kind == "a device" and path.name.startswith("video"):
        return f"for a camera, use camerasrc device={path}"
    return "write what it delivers to a file first" if kind in ("a device", "a socket") else PIPE_REMEDY


PIPE_REMEDY = (
    "write what it delivers to a file first, or, where it never ends, read it with rtspsrc url=udp://127.0.0.1:5000 "
    "and send it there: ffmpeg -i - -f mpegts udp://127.0.0.1:5000"
)
_OPEN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


def check_readable(path: Path) -> None:
    """Raise :class:`SourceError` if a file cannot be opened, is not a regular file, or is empty."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(f"{str(path)!r} cannot be read: {why}; check the path and its permissions") from error
    if is_empty:
        raise SourceError(f"{str(path)!r} is empty (0 bytes); copy or download it again")


def describe_kind(path: Path) -> str:
    """``a pipe``, ``a socket`` or ``a device``; empty for a file, a folder, and where nothing is."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
