"""The two runs of an evaluation: live, received by a subscriber, and offline, written to a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.errors import SilenceError
from stream.output.results import PersonRecord, Record
from stream.pipeline.pipeline import Pipeline
from stream.protocol.pose_message import PoseMessage
from stream.protocol.subscriber import Subscriber
from stream.runtime.supervisor import Supervisor

OnStderr = Callable[[str, str], None]

_POLL_S = 0.1
_TIMEOUT_S = 120.0
"""Maximum time without a message: enough for a line to start on a busy machine."""


@dataclass(frozen=True)
class Span:
    """The scored part of the live run: ``seconds`` of the source's time, after ``warmup_s`` from its first answer."""

    seconds: float = 10.0
    warmup_s: float = 1.0

    def within(self, begin_ns: int, time_ns: int) -> bool:
        """True if a frame at ``time_ns`` is scored, with the first answered frame at ``begin_ns``."""
        return self.warmup_s <= (time_ns - begin_ns) / 1e9 < self.warmup_s + self.seconds

    def is_over(self, begin_ns: int, time_ns: int) -> bool:
        """True if a frame at ``time_ns`` is after the scored part."""
        return (time_ns - begin_ns) / 1e9 >= self.warmup_s + self.seconds


class OfflineRecord(Record, frozen=True, kw_only=True):
    """One frame that the offline run wrote."""

    pts_ns: int
    model: str = ""


def run_live(pipeline: Pipeline, address: str, span: Span, on_stderr: OnStderr) -> list[PoseMessage]:
    """Run a line and collect the messages it publishes at ``address``, until ``span`` is over or the line ends.

    Raises :class:`SilenceError` if no message arrives for two minutes, and the error of a line that fails.
    """
    messages: list[PoseMessage] = []
    with Supervisor(pipeline, on_stderr=on_stderr) as supervisor, Subscriber(address) as subscriber:
        supervisor.play()
        last_message_s, has_ended = time.monotonic(), False
        while True:
            message = subscriber.poll(_POLL_S)
            if message is None and has_ended:
                return messages
            has_ended = supervisor.wait(0)
            if message is not None and not message.retained:
                last_message_s = time.monotonic()
                messages.append(message)
                if span.is_over(messages[0].pts_ns, message.pts_ns):
                    supervisor.stop()
            _check_timeout(last_message_s)


def _check_timeout(last_message_s: float) -> None:
    if time.monotonic() - last_message_s > _TIMEOUT_S:
        raise SilenceError(
            f"the line published nothing for {_TIMEOUT_S:.0f} s; run it with 'posestream launch' to see why"
        )


def run_offline(pipeline: Pipeline, results: Path, on_stderr: OnStderr) -> list[OfflineRecord]:
    """Run a line to its end and read the ``results`` of its ``jsonsink``. Raises the error of a line that fails."""
    with Supervisor(pipeline, on_stderr=on_stderr) as supervisor:
        supervisor.play()
        supervisor.wait()
    decoder = msgspec.json.Decoder(OfflineRecord)
    with results.open("rb") as lines:
        return [decoder.decode(line) for line in lines]


def to_record(message: PoseMessage) -> Record:
    """Convert a received message to a record of the offline run."""
    people = [
        PersonRecord(person.id, person.box, person.score, [(x, y, score) for x, y, score in person.keypoints.tolist()])
        for person in message.people
    ]
    return Record(message.camera, message.frame_seq, message.size, message.skeleton, people)
