"""Finds frames that are missing by the times of those that are there: FFmpeg may continue behind a damaged place
without an error, and nothing else shows it in a format that has neither an index nor the sizes of all packets."""

from __future__ import annotations

from collections import Counter

_FORMATS = frozenset({"mpegts", "mpeg", "asf", "avi"})
"""AVI has an index, which may be damaged as well. Elsewhere a gap is one of the camera, as telephones make them."""

_SAME = 0.25
"""Times are whole milliseconds in ASF, so that steps of 33 and 34 ms are one rate."""

_LEAST_STEADY = 0.9
"""The share of steps at one rate below which the rate is variable, and a longer step says nothing."""


class FrameGaps:
    """Counts the steps between frames that are longer than all others of a file at a constant rate.

    A step of more than ``longest_ns`` is none: the clock was set, or two recordings were joined.
    """

    def __init__(self, format_name: str, longest_ns: int) -> None:
        self._is_counting = format_name in _FORMATS
        self._longest_ns = longest_ns
        self._last_ns: int | None = None
        self._steps: Counter[int] = Counter()

    def add(self, pts_ns: int | None) -> None:
        """Take the time of the next frame in display order, in nanoseconds."""
        if pts_ns is not None and self._last_ns is not None and 0 < pts_ns - self._last_ns <= self._longest_ns:
            self._steps[round((pts_ns - self._last_ns) / 1e6)] += 1
        self._last_ns = pts_ns

    def count_missing(self) -> int:
        """How many frames would fill the gaps; 0 at a variable rate, and for a format in which nothing is lost so."""
        total = self._steps.total()
        if not total or not self._is_counting:
            return 0
        usual_ms = self._steps.most_common(1)[0][0]
        steady = sum(count for ms, count in self._steps.items() if abs(ms - usual_ms) <= _SAME * usual_ms)
        if steady < _LEAST_STEADY * total:
            return 0
        return sum(count * max(0, round(ms / usual_ms) - 1) for ms, count in self._steps.items()) if usual_ms else 0
