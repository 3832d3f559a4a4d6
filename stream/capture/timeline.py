"""Keeps ``pts_ns`` running forward while a camera comes and goes, each time with a clock that begins anew."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

_STEP_NS = 1_000_000
"""How far behind its predecessor a frame is put whose own time stands still or runs backwards."""

_JUMP_NS = 5_000_000_000
"""A stream clock that departs from the wall clock by more than this has been set anew (a camera that found its NTP)."""


class Timeline:
    """Places frames of one connection after another on one axis that begins at 0 with the first frame ever.

    Within a connection distances are those of the stream's own clock; between connections, and where a frame has no
    time, those of the wall clock. ``memory`` carries the axis over a restart of the process.
    """

    def __init__(self, memory: MutableMapping[str, int], now_ns: Callable[[], int]) -> None:
        self._memory, self._now_ns = memory, now_ns
        self._offset_ns: int | None = None

    def reconnected(self) -> None:
        """The next frame belongs to a new connection, whose clock has nothing to do with the last one's."""
        self._offset_ns = None

    def place(self, pts_ns: int | None) -> int:
        """The time on the axis of the frame that the stream says is to be shown at ``pts_ns``; always increasing."""
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
