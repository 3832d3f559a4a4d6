"""A continuous ``pts_ns`` across connections, each of which may start its own clock."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

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
