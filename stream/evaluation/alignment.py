"""Which frame of the source each answer is about: told by source time and number, never by when it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.live import Answer
from engines.evaluation.loop_alignment import Begin, Loop, apart, begin_of
from stream.errors import SourceError
from stream.evaluation.line_variants import STREAM, Asked
from stream.evaluation.runs import Written, record_of
from stream.output.results import Record
from stream.protocol.schema import PoseMessage

_AT_MOST = 0.25
"""A frame of a stream lies within this share of a frame's time of where the clip has it."""

_LOOKED_AT = 20
"""So many answers, spread over the run, say where in its clip a stream began."""


@dataclass(frozen=True)
class Joined:
    """Both runs on one count of frames: ``answers`` of the live one, and of the offline one what it said, by the number
    in the clip; ``begin`` where a stream's place in its clip had to be found."""

    loop: Loop
    answers: tuple[Answer[Record], ...]
    offline: Mapping[int, Record]
    begin: Begin | None = None


def join(asked: Asked, messages: Sequence[PoseMessage], written: Sequence[Written], turn_s: float | None) -> Joined:
    """Both runs' answers, by frame; ``turn_s`` is how long one turn of a looped clip lasts, where the user says so.

    ``testsrc`` and ``filesrc`` number their frames, so the number says it, and the time must agree. A stream's numbers
    count from its connection: there the time says it, modulo the clip, once it is known which frame came first. That is
    found by comparing live answers with offline ones (:func:`~engines.evaluation.loop_alignment.begin_of`); the truth
    has no part in it. Raises :class:`SourceError` where the two runs do not show the same.
    """
    offline = {record.frame_seq: record for record in written}
    loop = Loop.of(_times(written), None if turn_s is None else round(turn_s * 1e9))
    begin = None
    if asked.kind == STREAM:
        begin = _begin(loop, messages, offline)
        frames = loop.placed(begin.first, _elapsed_ns(messages))
        _check_placed(loop, begin.first, messages)
    else:
        frames = [message.frame_seq for message in messages]
        _check_times(loop, messages, frames)
    answers = (
        Answer(frame, message.wall_ns, message.received_ns, record_of(message))
        for frame, message in zip(frames, messages, strict=True)
    )
    return Joined(loop, tuple(answers), offline, begin)


def _times(written: Sequence[Written]) -> list[int]:
    """The time of every frame of the clip; of one that an element left out, between its neighbours'."""
    if not written:
        raise SourceError("the offline run gave no keypoints at all; run the line with 'posestream launch' to see why")
    numbers, times_ns = zip(*((record.frame_seq, record.pts_ns) for record in written), strict=True)
    base_ns = times_ns[0]
    between = np.interp(range(max(numbers) + 1), numbers, [time_ns - base_ns for time_ns in times_ns])
    return [base_ns + round(float(time_ns)) for time_ns in between]


def _elapsed_ns(messages: Sequence[PoseMessage]) -> list[int]:
    return [message.pts_ns - messages[0].pts_ns for message in messages]


# -- streams ----------------------------------------------------------------------------------------------------------


def _begin(loop: Loop, messages: Sequence[PoseMessage], offline: Mapping[int, Record]) -> Begin:
    some = [messages[place] for place in np.linspace(0, len(messages) - 1, _LOOKED_AT).round().astype(int)]
    live = [_arrays(record_of(message)) for message in some]
    known = {number: _arrays(record) for number, record in offline.items()}

    def disagreement(item: int, number: int) -> float:
        return apart(*live[item], *known[number]) if number in known else 1.0

    elapsed_ns = [message.pts_ns - messages[0].pts_ns for message in some]
    begin = begin_of(loop, elapsed_ns, disagreement)
    if not begin.is_clear:
        raise SourceError(
            "cannot tell where in --clip the stream began: live keypoints are "
            f"{100 * begin.disagree:.2f} % of a person's size from the offline ones if at frame {begin.first}, and "
            f"{100 * begin.otherwise:.2f} % if elsewhere; is it the clip that is looped, does somebody move in it, and "
            f"does a turn last {loop.turn_ns / 1e9:.3f} s (else say how long with --loop-s)?"
        )
    return begin


def _arrays(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (N, 4) and keypoints (N, K, 3), px."""
    boxes = np.array([person.box for person in record.people], np.float64).reshape(-1, 4)
    joints = len(record.people[0].keypoints) if record.people else 1
    keypoints = np.array([person.keypoints for person in record.people], np.float64).reshape(-1, joints, 3)
    return boxes, keypoints


def _check_placed(loop: Loop, first: int, messages: Sequence[PoseMessage]) -> None:
    strayed_ns = loop.strayed_ns(first, _elapsed_ns(messages))
    worst = int(np.argmax(strayed_ns))
    if strayed_ns[worst] > _AT_MOST * loop.step_ns:
        raise SourceError(
            f"frame {messages[worst].frame_seq} of the stream lies {strayed_ns[worst] / 1e6:.0f} ms from any frame of "
            f"--clip, whose frames are {loop.step_ns / 1e6:.0f} ms apart: the stream was reconnected (try again), or "
            f"one turn does not last {loop.turn_ns / 1e9:.3f} s (say how long with --loop-s)"
        )


# -- sources that number their frames ---------------------------------------------------------------------------------


def _check_times(loop: Loop, messages: Sequence[PoseMessage], frames: Sequence[int]) -> None:
    for message, frame in zip(messages, frames, strict=True):
        # Of later turns the exact time is the source's affair.
        if frame < len(loop.times_ns) and abs(loop.time_ns(frame) - message.pts_ns) > _AT_MOST * loop.step_ns:
            raise SourceError(
                f"frame {frame} is shown at {message.pts_ns / 1e9:.3f} s live and at {loop.time_ns(frame) / 1e9:.3f} s "
                "offline: the two runs did not see the same frames; did the file change, or a part fall and rise again?"
            )
