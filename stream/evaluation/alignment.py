"""Assignment of live messages to frames of the source, by source time and number, not by arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.live import Answer
from engines.evaluation.loop_alignment import Loop, LoopStart, find_start, people_difference
from stream.errors import SourceError
from stream.evaluation.line_variants import STREAM, Request
from stream.evaluation.runs import OfflineRecord, to_record
from stream.output.results import Record
from stream.protocol.pose_message import PoseMessage

_TOLERANCE = 0.25
"""Maximum deviation of a stream's frame from its time in the clip, as a fraction of the frame period."""

_SAMPLES = 20
"""Number of answers, spread over the run, used to find where in its clip a stream began."""


@dataclass(frozen=True)
class Alignment:
    """Both runs with a common frame count: the ``answers`` of the live run, and the ``offline`` records by frame number
    in the clip. ``begin`` is set for a stream, whose position in the clip had to be found. ``messages`` are those that
    the answers came in, by frame."""

    loop: Loop
    answers: tuple[Answer[Record], ...]
    offline: Mapping[int, Record]
    begin: LoopStart | None = None
    messages: Mapping[int, PoseMessage] = field(default_factory=dict)


def align(
    request: Request, messages: Sequence[PoseMessage], records: Sequence[OfflineRecord], turn_s: float | None
) -> Alignment:
    """Align both runs by frame. ``turn_s`` is the duration of one turn of a looped clip, if it is not the clip's own.

    ``testsrc`` and ``filesrc`` number their frames, so frames are aligned by number, and times must agree. A stream's
    numbers start with its connection: its frames are aligned by time modulo the clip, after the first frame was found
    by comparing live answers with offline ones (:func:`~engines.evaluation.loop_alignment.find_start`), without the
    ground truth. Raises :class:`SourceError` if the two runs show different frames.
    """
    offline = {record.frame_seq: record for record in records}
    loop = Loop.from_times(_times(records), None if turn_s is None else round(turn_s * 1e9))
    begin = None
    if request.kind == STREAM:
        begin = _find_begin(loop, messages, offline)
        frames = loop.frames_after(begin.first, _elapsed_ns(messages))
        _check_stream_times(loop, begin.first, messages)
    else:
        frames = [message.frame_seq for message in messages]
        _check_times(loop, messages, frames)
    answers = (
        Answer(frame, message.wall_ns, message.received_ns, to_record(message))
        for frame, message in zip(frames, messages, strict=True)
    )
    return Alignment(loop, tuple(answers), offline, begin, dict(zip(frames, messages, strict=True)))


def _times(records: Sequence[OfflineRecord]) -> list[int]:
    """The time of every frame of the clip; interpolated for frames that an element dropped."""
    if not records:
        raise SourceError("the offline run produced no keypoints; run the line with 'posestream launch' to see why")
    numbers, times_ns = zip(*((record.frame_seq, record.pts_ns) for record in records), strict=True)
    base_ns = times_ns[0]
    between = np.interp(range(max(numbers) + 1), numbers, [time_ns - base_ns for time_ns in times_ns])
    return [base_ns + round(float(time_ns)) for time_ns in between]


def _elapsed_ns(messages: Sequence[PoseMessage]) -> list[int]:
    return [message.pts_ns - messages[0].pts_ns for message in messages]


# -- streams ----------------------------------------------------------------------------------------------------------


def _find_begin(loop: Loop, messages: Sequence[PoseMessage], offline: Mapping[int, Record]) -> LoopStart:
    samples = [messages[index] for index in np.linspace(0, len(messages) - 1, _SAMPLES).round().astype(int)]
    live = [_to_arrays(to_record(message)) for message in samples]
    known = {number: _to_arrays(record) for number, record in offline.items()}

    def disagreement(item: int, number: int) -> float:
        return people_difference(*live[item], *known[number]) if number in known else 1.0

    elapsed_ns = [message.pts_ns - messages[0].pts_ns for message in samples]
    begin = find_start(loop, elapsed_ns, disagreement)
    if not begin.is_unambiguous:
        raise SourceError(
            "cannot find where in --clip the stream began: live keypoints differ from the offline ones by "
            f"{100 * begin.difference:.2f} % of a person's size at frame {begin.first}, and by "
            f"{100 * begin.next_difference:.2f} % elsewhere; check that --clip is the looped clip, that people move in "
            f"it, and that a turn lasts {loop.turn_ns / 1e9:.3f} s (else give its duration with --loop-s)"
        )
    return begin


def _to_arrays(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (N, 4) and keypoints (N, K, 3), px."""
    boxes = np.array([person.box for person in record.people], np.float64).reshape(-1, 4)
    joints = len(record.people[0].keypoints) if record.people else 1
    keypoints = np.array([person.keypoints for person in record.people], np.float64).reshape(-1, joints, 3)
    return boxes, keypoints


def _check_stream_times(loop: Loop, first: int, messages: Sequence[PoseMessage]) -> None:
    strayed_ns = loop.deviations_ns(first, _elapsed_ns(messages))
    worst = int(np.argmax(strayed_ns))
    if strayed_ns[worst] > _TOLERANCE * loop.step_ns:
        raise SourceError(
            f"frame {messages[worst].frame_seq} of the stream is {strayed_ns[worst] / 1e6:.0f} ms from any frame of "
            f"--clip, whose frames are {loop.step_ns / 1e6:.0f} ms apart: the stream was reconnected (try again), or "
            f"one turn does not last {loop.turn_ns / 1e9:.3f} s (give its duration with --loop-s)"
        )


# -- sources that number their frames ---------------------------------------------------------------------------------


def _check_times(loop: Loop, messages: Sequence[PoseMessage], frames: Sequence[int]) -> None:
    for message, frame in zip(messages, frames, strict=True):
        # The times of later turns depend on the source.
        if frame < len(loop.times_ns) and abs(loop.time_ns(frame) - message.pts_ns) > _TOLERANCE * loop.step_ns:
            raise SourceError(
                f"frame {frame} is shown at {message.pts_ns / 1e9:.3f} s live and at {loop.time_ns(frame) / 1e9:.3f} s "
                "offline: the two runs have different frames; check whether the file changed or a part was restarted"
            )
