"""Notices that the files of a source were changed while its line ran: a restarted source reads them from the beginning
and skips, by number, the frames that were delivered, so that other files would lose frames or repeat them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

from stream.element import Context
from stream.errors import SourceError

_COUNT, _NAMES, _STATES = "files", "file names", "file states"


def check_unchanged(location: str, paths: Sequence[Path], context: Context) -> None:
    """Remember the files ``paths`` of ``location`` at the first start of a source, and compare them at each restart.

    A file is the same while its size, the time of its modification and its inode are. ``context.memory`` has digests
    of 64 bits, so that a folder may be of any size. Raises :class:`SourceError` for a change.
    """
    now = {_COUNT: len(paths), _NAMES: _digest(map(os.fsencode, paths)), _STATES: _digest(map(_describe_state, paths))}
    before = {name: context.memory[name] for name in now if name in context.memory}
    if not context.incarnation or len(before) < len(now):
        context.memory.update(now)
    elif before != now:
        raise SourceError(
            f"{location!r} was changed while the line ran: {_describe_change(before, now)}; {context.name!r}, which "
            "was restarted, would lose or repeat frames: run the line again, and leave its files alone until it ends"
        )


def _describe_change(before: dict[str, int], now: dict[str, int]) -> str:
    lacking = before[_COUNT] - now[_COUNT]
    if lacking:
        verb = "removed from" if lacking > 0 else "added to"
        return f"files were {verb} the {before[_COUNT]} that it had (now {now[_COUNT]})"
    if before[_NAMES] != now[_NAMES]:
        return f"files were added and others removed, or renamed ({now[_COUNT]} before and now)"
    return "the file was replaced or written to" if now[_COUNT] == 1 else "a file was replaced or written to"


def _describe_state(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:  # removed since it was listed
        return b""
    return b"%d %d %d" % (found.st_size, found.st_mtime_ns, found.st_ino)


def _digest(parts: Iterable[bytes]) -> int:
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part + b"\0")  # no name holds a zero byte
    return int.from_bytes(digest.digest(), signed=True)
