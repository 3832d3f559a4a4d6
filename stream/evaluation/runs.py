"""The two runs: one is listened to as any subscriber listens, the other is written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.errors import SilenceError
from stream.output.results import PersonRecord, Record
from stream.pipeline.pipeline import Pipeline
from stream.protocol.schema import PoseMessage
from stream.protocol.subscriber import Subscriber
from stream.runtime.supervisor import Supervisor

Hear = Callable[[str, str], None]

_POLL_S = 0.1
_PATIENCE_S = 120.0
"""How long nothing may come: as long as a line takes to begin on a machine that has much else to do."""


@dataclass(frozen=True)
class Span:
    """Of the live run, ``seconds`` of the source's time are judged, after the first ``warmup_s`` that it answered."""

    seconds: float = 10.0
    warmup_s: float = 1.0

    def within(self, begin_ns: int, time_ns: int) -> bool:
        """Whether a frame is judged that is shown at ``time_ns`` where the first answered one was at ``begin_ns``."""
        return self.warmup_s <= (time_ns - begin_ns) / 1e9 < self.warmup_s + self.seconds

    def is_over(self, begin_ns: int, time_ns: int) -> bool:
        """Whether a frame lies behind all that are judged."""
        return (time_ns - begin_ns) / 1e9 >= self.warmup_s + self.seconds


class Written(Record, frozen=True):
    """A line of poses that the offline run wrote."""

    pts_ns: int
    model: str = ""


def listen(pipeline: Pipeline, address: str, span: Span, hear: Hear) -> list[PoseMessage]:
    """Play a line and take down all that it publishes at ``address``, until ``span`` is over or the line ends.

    Raises :class:`SilenceError` when nothing comes for two minutes, and what made the line fail.
    """
    messages: list[PoseMessage] = []
    with Supervisor(pipeline, on_stderr=hear) as supervisor, Subscriber(address) as subscriber:
        supervisor.play()
        heard_s, has_ended = time.monotonic(), False
        while True:
            message = subscriber.poll(_POLL_S)
            if message is None and has_ended:
                return messages
            has_ended = supervisor.wait(0)
            if message is not None and not message.retained:
                heard_s = time.monotonic()
                messages.append(message)
                if span.is_over(messages[0].pts_ns, message.pts_ns):
                    supervisor.stop()
            _check_patience(heard_s)


def _check_patience(heard_s: float) -> None:
    if time.monotonic() - heard_s > _PATIENCE_S:
        raise SilenceError(
            f"the line published nothing for {_PATIENCE_S:.0f} s; run it with 'posestream launch' to see why"
        )


def write_down(pipeline: Pipeline, results: Path, hear: Hear) -> list[Written]:
    """Play a line to its end and read what its ``jsonsink`` wrote to ``results``. Raises what made the line fail."""
    with Supervisor(pipeline, on_stderr=hear) as supervisor:
        supervisor.play()
        supervisor.wait()
    decoder = msgspec.json.Decoder(Written)
    with results.open("rb") as lines:
        return [decoder.decode(line) for line in lines]


def record_of(message: PoseMessage) -> Record:
    """What a subscriber got, as the offline run has it."""
    people = [
        PersonRecord(person.id, person.box, person.score, [(x, y, score) for x, y, score in person.keypoints.tolist()])
        for person in message.people
    ]
    return Record(message.camera, message.frame_seq, message.size, message.skeleton, people)
