"""What keypoints are worth to somebody who has to act on them: four readings of one run.

The truth of frame *i* holds at the moment at which frame *i* was captured, on the clock of the machine that captured
it. Whoever looks at that moment has what arrived until then, and no more; that it belongs to an earlier frame is what
lateness costs. So evaluates "Towards Streaming Perception" (Li, Wang, Ramanan, ECCV 2020, section 3): the world goes
on while one computes, and at every moment of the truth the newest output stands for the answer, be it old. A line that
took no time at all would answer frame *i* at its own moment; one that takes between no time and one frame's is judged
by the answer to frame *i* - 1, one that looks ahead a frame by *i* - 2 at the best.

========= =================================================================================================
offline   every frame's own answer, from a run that drops nothing (an ordinary :func:`answered` of that run)
answered  :func:`answered`: frames of the live run that got an answer, by it, whenever it came
held      :func:`held`: a frame that got none by the newest answer that had arrived at its moment, or by none
streaming :func:`streaming`: every frame by the newest answer that had arrived at its moment, or by none
========= =================================================================================================

From *answered* to *held* is what dropped frames cost, from *held* to *streaming* what lateness does.
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
    """``content``, said about ``frame``, which was captured at ``captured_ns`` and answered at ``arrived_ns``; both on
    one clock."""

    frame: int
    captured_ns: int
    arrived_ns: int
    content: T

    @property
    def age_ms(self) -> float:
        """From capture to arrival."""
        return (self.arrived_ns - self.captured_ns) / 1e6


def moments(times_ns: Sequence[int], frames: Sequence[int], answers: Iterable[Answer[T]]) -> list[int]:
    """When each of ``frames`` was captured, ns; ``times_ns`` are their times on the source's own clock.

    An answer tells its frame's moment. That of a frame without one lies between those of its neighbours as its time on
    the source's clock does; before the first answer and after the last, both clocks run alike. Raises ``ValueError``
    where nothing was answered.
    """
    told = {answer.frame: answer.captured_ns for answer in answers}
    known = [(time_ns, told[frame] - time_ns) for time_ns, frame in zip(times_ns, frames, strict=True) if frame in told]
    if not known:
        raise ValueError("none of these frames was answered")
    base_ns = known[0][1]
    at, ahead = zip(*known, strict=True)
    # Of small numbers: a double holds no nanoseconds since 1970.
    offsets = np.interp(times_ns, at, [offset_ns - base_ns for offset_ns in ahead])
    return [time_ns + base_ns + round(float(offset)) for time_ns, offset in zip(times_ns, offsets, strict=True)]


def answered(frames: Iterable[int], answers: Iterable[Answer[T]]) -> list[Answer[T] | None]:
    """Each frame's own answer, however late it came; None where it has none."""
    own = {answer.frame: answer for answer in answers}
    return [own.get(frame) for frame in frames]


def streaming(moments_ns: Iterable[int], answers: Iterable[Answer[T]]) -> list[Answer[T] | None]:
    """What had arrived at each moment: the answer to the newest frame among those; None before the first."""
    came = sorted(answers, key=lambda answer: (answer.arrived_ns, answer.frame))
    newest = list(accumulate(came, _newer))
    arrivals = [answer.arrived_ns for answer in came]
    places = (bisect_right(arrivals, moment_ns) for moment_ns in moments_ns)
    return [newest[place - 1] if place else None for place in places]


def _newer(one: Answer[T], other: Answer[T]) -> Answer[T]:
    return other if other.frame > one.frame else one


def held(frames: Sequence[int], moments_ns: Sequence[int], answers: Sequence[Answer[T]]) -> list[Answer[T] | None]:
    """Each frame's own answer, however late it came; where it has none, what had arrived at its moment."""
    pairs = zip(answered(frames, answers), streaming(moments_ns, answers), strict=True)
    return [own or present for own, present in pairs]
