"""A continuous ``pts_ns``: across connections, each of which may start its own clock, and within a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import replace

from stream.capture.decoded_picture import Shot

_log = logging.getLogger(__name__)

_STEP_NS = 1_000_000
"""The distance to the previous frame of a frame whose own time does not increase."""

_JUMP_NS = 5_000_000_000
"""A stream clock that departs from the wall clock by more than this was reset (a camera that synchronised by NTP)."""


class Timeline:
    """Maps the times of successive connections to one axis that starts at 0 with the first frame.

    Within a connection, distances are those of the stream's clock; between connections, and for frames without a time,
    those of the wall clock. ``memory`` preserves the axis across restarts of the process.
    """

    def __init__(self, memory: MutableMapping[str, int], now_ns: Callable[[], int]) -> None:
        self._memory, self._now_ns = memory, now_ns
        self._offset_ns: int | None = None

    def reset(self) -> None:
        """Start a new connection, whose clock is unrelated to the previous one."""
        self._offset_ns = None

    def place(self, pts_ns: int | None) -> int:
        """Map the stream's ``pts_ns`` to the axis; the result always increases."""
        elapsed_ns = self._elapsed_ns()
        if pts_ns is None:
            return self._after_last(elapsed_ns)
        if self._offset_ns is None or abs(pts_ns + self._offset_ns - elapsed_ns) > _JUMP_NS:
            self._offset_ns = max(elapsed_ns, self._last_ns + _STEP_NS) - pts_ns
        return self._after_last(pts_ns + self._offset_ns)

    def _elapsed_ns(self) -> int:
        now_ns = self._now_ns()
        return now_ns - self._memory.setdefault("origin_ns", now_ns)

    @property
    def _last_ns(self) -> int:
        return self._memory.get("pts_ns", -_STEP_NS)

    def _after_last(self, pts_ns: int) -> int:
        placed_ns = pts_ns if pts_ns > self._last_ns else self._last_ns + _STEP_NS
        self._memory["pts_ns"] = placed_ns
        return placed_ns


_MAX_BACK_NS = 1_000_000_000
"""A time that goes back by more than this is that of another clock; by less, it is inexact."""


def bridge_jumps(shots: Iterable[Shot], max_gap_ns: int, name: str) -> Iterator[Shot]:
    """Yield the shots of the file ``name`` with increasing times.

    A missing or non-increasing time becomes the end of the last shot. So does one that is more than ``max_gap_ns``
    after that end, or a second before the last shot: the recorder's clock was set. The times after it follow.
    """
    due_ns, last_ns, offset_ns, jumps = 0, -1, 0, 0
    for number, shot in enumerate(shots):
        pts_ns = due_ns if shot.pts_ns is None else shot.pts_ns + offset_ns
        if number and (pts_ns - due_ns > max_gap_ns or last_ns - pts_ns > _MAX_BACK_NS):
            jumps += 1
            if jumps == 1:
                text = "%s: the time jumps by %+.1f s after %d frames; it continues without the jump"
                _log.warning(text, name, (pts_ns - due_ns) / 1e9, number)
            offset_ns += due_ns - pts_ns
            pts_ns = due_ns
        pts_ns = pts_ns if pts_ns > last_ns else due_ns
        due_ns, last_ns = pts_ns + shot.duration_ns, pts_ns
        yield replace(shot, pts_ns=pts_ns)
    if jumps > 1:
        _log.warning("%s: the time jumps %d times", name, jumps)
