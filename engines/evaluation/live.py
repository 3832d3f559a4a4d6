"""Evaluation of a live run, in which frames are dropped and answers come late, in four readings.

The ground truth of frame *i* is compared at the time when frame *i* was captured, with the newest answer that had
arrived by then. This is the method of "Towards Streaming Perception" (Li, Wang, Ramanan, ECCV 2020, section 3). An
answer with a latency of less than one frame is thus compared with the truth of the next frame, *i* + 1, and one that
also looks ahead one frame with that of *i* + 2 at best.

========= ================================================================================================
offline   every frame with its own answer, from a run that drops no frames (:func:`own_answers` of that run)
answered  :func:`own_answers`: frames of the live run that have an answer, whenever it arrived
held      :func:`held_answers`: a frame without an answer has the newest one that had arrived, or none
streaming :func:`streaming_answers`: every frame has the newest answer that had arrived, or none
========= ================================================================================================

The difference between *answered* and *held* is the cost of dropped frames, between *held* and *streaming* that of
latency.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """``content`` about ``frame``, captured at ``captured_ns`` and answered at ``arrived_ns``, both on one clock."""

    frame: int
    captured_ns: int
    arrived_ns: int
    content: T

    @property
    def age_ms(self) -> float:
        """The time from capture to arrival."""
        return (self.arrived_ns - self.captured_ns) / 1e6


def capture_times(times_ns: Sequence[int], frames: Sequence[int], answers: Iterable[Answer[T]]) -> list[int]:
    """The capture time of each of ``frames``, ns; ``times_ns`` are their times on the source's own clock.

    Answers carry the capture times of their frames. Those of frames without one are interpolated by the source's clock;
    before the first answer and after the last, both clocks are taken to run at the same rate. Raises ``ValueError`` if
    there are no answers.
    """
    captured = {answer.frame: answer.captured_ns for answer in answers}
    pairs = zip(times_ns, frames, strict=True)
    known = [(time_ns, captured[frame] - time_ns) for time_ns, frame in pairs if frame in captured]
    if not known:
        raise ValueError("none of these frames was answered")
    base_ns = known[0][1]
    at, ahead = zip(*known, strict=True)
    # Differences, because a double cannot hold nanoseconds since 1970.
    offsets = np.interp(times_ns, at, [offset_ns - base_ns for offset_ns in ahead])
    return [time_ns + base_ns + round(float(offset)) for time_ns, offset in zip(times_ns, offsets, strict=True)]


def own_answers(frames: Iterable[int], answers: Iterable[Answer[T]]) -> list[Answer[T] | None]:
    """Each frame's own answer, however late it arrived; None if it has none."""
    own = {answer.frame: answer for answer in answers}
    return [own.get(frame) for frame in frames]


def streaming_answers(times_ns: Iterable[int], answers: Iterable[Answer[T]]) -> list[Answer[T] | None]:
    """At each time, the answer to the newest frame among those that had arrived; None before the first."""
    ordered = sorted(answers, key=lambda answer: (answer.arrived_ns, answer.frame))
    newest = list(accumulate(ordered, _newer))
    arrivals = [answer.arrived_ns for answer in ordered]
    counts = (bisect_right(arrivals, time_ns) for time_ns in times_ns)
    return [newest[count - 1] if count else None for count in counts]


def _newer(one: Answer[T], other: Answer[T]) -> Answer[T]:
    return other if other.frame > one.frame else one


def held_answers(
    frames: Sequence[int], times_ns: Sequence[int], answers: Sequence[Answer[T]]
) -> list[Answer[T] | None]:
    """Each frame's own answer, however late it arrived; without one, the newest that had arrived at its time."""
    pairs = zip(own_answers(frames, answers), streaming_answers(times_ns, answers), strict=True)
    return [own or present for own, present in pairs]
