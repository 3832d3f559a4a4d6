"""The silence of live sources: said once when it begins, with the reason where that is known, and once when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from stream.element import Source
from stream.pipeline.wiring import camera_name

_log = logging.getLogger(__name__)

T = TypeVar("T")

SILENCE_S = 5.0
"""A live source that gives nothing for so long is silent."""
_MIN_PERIODS = 3
"""A source of a known, low rate is silent after so many periods."""


class SilenceMonitor:
    """Watches what a live source gives. ``now_s`` is the clock, in seconds.

    Only the time that the source itself takes counts, not that of its reader. Warnings go to the log, and from
    there to stderr and the bus.
    """

    def __init__(self, source: Source, now_s: Callable[[], float] = time.monotonic) -> None:
        self._source, self._now_s = source, now_s
        self._silent_s = 0.0
        self._is_reported = False
        self._limit_s = max(SILENCE_S, _MIN_PERIODS / (source.nominal_fps or _MIN_PERIODS))

    def watch(self, frames: Iterable[T | None]) -> Iterator[T | None]:
        """Yield ``frames``, None while there is none, and report silence."""
        remaining = iter(frames)
        try:
            while True:
                began_s = self._now_s()
                frame = next(remaining)
                self._count(self._now_s() - began_s, is_frame=frame is not None)
                yield frame
        except StopIteration:
            return
        finally:
            if (close := getattr(remaining, "close", None)) is not None:
                close()

    def describe(self) -> str:
        """``silent for 12 s: connection refused`` while the source is silent, else empty; any thread may ask."""
        return f"silent for {self._silent_s:.0f} s{self._reason()}" if self._is_reported else ""

    def _count(self, waited_s: float, *, is_frame: bool) -> None:
        self._silent_s += waited_s
        if self._silent_s >= self._limit_s and not self._is_reported:
            self._is_reported = True
            _log.warning("camera %r has given no frame for %.0f s%s", self._camera, self._silent_s, self._reason())
        if is_frame:
            if self._is_reported:
                _log.warning("camera %r gives frames again, after %.0f s", self._camera, self._silent_s)
            self._silent_s, self._is_reported = 0.0, False

    @property
    def _camera(self) -> str:
        return camera_name(self._source)

    def _reason(self) -> str:
        reason = self._source.describe_silence()
        return f": {reason}" if reason else ""
