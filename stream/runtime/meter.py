"""Measurements of a part: a rate and percentiles over the last few seconds, and its memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import psutil

SPAN_S = 5.0
"""How far back a rate or a percentile looks."""

_MAX_SAMPLES = 5000


@dataclass(frozen=True, slots=True)
class Reading:
    """What a :class:`Meter` read: items a second, and percentiles of their processing time and their age."""

    fps: float = 0.0
    process_p50_ms: float = 0.0
    process_p95_ms: float = 0.0
    age_p50_ms: float = 0.0
    age_p95_ms: float = 0.0
    items: int = 0


class Meter:
    """Counts items; one thread may count while another reads."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s = now_s()
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_MAX_SAMPLES)
        self.items = 0
        self._lock = threading.Lock()

    def count(self, process_ms: float, age_ms: float) -> None:
        """Count an item that has left the part: how long its elements took, and how old its frame was."""
        with self._lock:
            self._samples.append((self._now_s(), process_ms, age_ms))
            self.items += 1

    def read(self) -> Reading:
        """The measurements over the last :data:`SPAN_S` seconds."""
        now_s = self._now_s()
        with self._lock:
            while self._samples and self._samples[0][0] < now_s - SPAN_S:
                self._samples.popleft()
            samples, items = list(self._samples), self.items
        span_s = max(1e-3, min(SPAN_S, now_s - self._since_s))
        process_ms, age_ms = (sorted(sample[column] for sample in samples) for column in (1, 2))
        return Reading(
            fps=len(samples) / span_s,
            process_p50_ms=percentile(process_ms, 50),
            process_p95_ms=percentile(process_ms, 95),
            age_p50_ms=percentile(age_ms, 50),
            age_p95_ms=percentile(age_ms, 95),
            items=items,
        )


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest-rank percentile of values in rising order; 0.0 of none.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([1.0, 2.0, 3.0, 4.0], 95), percentile([], 50)
    (2.0, 4.0, 0.0)
    """
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def resident_bytes() -> int:
    """The memory that this process has in use now; 0 while that cannot be read, for want of a free descriptor."""
    try:
        return psutil.Process().memory_info().rss
    except (OSError, psutil.Error):
        return 0
