"""What a part begins with: the frames of a source, or the deliveries of an inbox."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from stream.element import Source
from stream.errors import SourceError, TransportError, WireError
from stream.messages import Eos, Frame, Key, Message
from stream.runtime import bus
from stream.runtime.endpoints import frames_of
from stream.runtime.part_runner import PartRunner
from stream.transports.base import Delivery


class Input(Protocol):
    """What the runner needs of either."""

    @property
    def may_take(self) -> bool:
        """False while even what waits is to be left alone."""

    def open(self, opened: ExitStack) -> None:
        """Open the elements, unless everything was delivered in an earlier life; ``opened`` closes them."""

    def advance(self, state: bus.State) -> bool:
        """Let the part do what there is to do; False when there is nothing to do but wait."""

    def end(self) -> None:
        """The user wants the streams to end: a source ends its own, others follow."""

    def answer(self) -> None:
        """Everything is delivered: acknowledge what still comes."""


class Frames:
    """The input of a part that begins with a source: frames, as long as there is credit for them."""

    def __init__(
        self, source: Source, runner: PartRunner, memory: MutableMapping[str, int], in_flight: int, *, is_again: bool
    ) -> None:
        self._source, self._runner, self._memory, self._in_flight = source, runner, memory, in_flight
        self._camera = runner.cameras[0]
        self._finished = runner.flow.finished().get(self._camera, -1)
        self._is_again = is_again
        self._offset: int | None = None
        self._frames: Iterator[Frame | None] = iter(())
        self._is_ended = runner.is_finished

    def open(self, opened: ExitStack) -> None:
        """Open the elements, source last, unless everything was delivered in an earlier life."""
        if not self._is_ended:
            self._frames = opened.enter_context(self._runner.executor).frames()

    @property
    def may_take(self) -> bool:
        return True

    def end(self) -> None:
        """End the stream as if the source had ended."""
        if not self._is_ended:
            self._is_ended = True
            close = getattr(self._frames, "close", None)
            if close is not None:
                close()
            self._runner.end(self._camera)

    def answer(self) -> None:
        """A source has nobody upstream to answer."""

    def advance(self, state: bus.State) -> bool:
        """Take one more frame, if that may be; False when there is nothing to do but wait."""
        if self._is_ended or not (self._source.live or (state == "PLAYING" and self._has_credit())):
            return False
        frame = self._next()
        if frame is not None:
            self._take(self._numbered(frame), state)
        return True

    def _has_credit(self) -> bool:
        return self._runner.flow.unreleased(self._camera) < self._in_flight

    def _next(self) -> Frame | None:
        try:
            return next(self._frames)
        except StopIteration:
            self.end()
        except SourceError as error:
            if self._source.live:
                raise
            self._runner.fault(self._source, error)
            self.end()
        return None

    def _numbered(self, frame: Frame) -> Frame:
        """The frame under its camera's name, its count going on where that of an earlier life ended if it is live."""
        if self._offset is None:
            last = self._memory.get("taken", -1)
            starts_again = self._is_again and self._source.live and frame.seq <= last
            self._offset = last + 1 - frame.seq if starts_again else 0
        if frame.camera == self._camera and not self._offset:
            return frame
        return replace(frame, camera=self._camera, seq=frame.seq + self._offset)

    def _take(self, frame: Frame, state: bus.State) -> None:
        if not self._source.live and frame.seq <= self._finished - self._runner.reach:
            return  # delivered in an earlier life, and needed by nothing to come
        if self._source.live and state != "PLAYING":
            return  # a live source is read on while it is paused, lest it be late ever after
        self._memory["taken"] = frame.seq
        self._runner.listen()
        if self._has_credit():
            self._runner.work([self._runner.links.place(frame)])
        else:
            self._runner.tally.drop(self._camera, "no credit")


class Deliveries:
    """The input of a part that reads an inbox."""

    def __init__(self, runner: PartRunner, lateness_ms: float | None) -> None:
        if runner.links.inbox is None:
            raise TransportError(f"{runner.name} has neither a source nor an inbox; begin its line with one")
        self._runner, self._inbox, self._lateness_ms = runner, runner.links.inbox, lateness_ms
        self._state: bus.State = "PAUSED"

    def open(self, opened: ExitStack) -> None:
        """Open the elements, unless everything was delivered in an earlier life."""
        if not self._runner.is_finished:
            opened.enter_context(self._runner.executor)

    @property
    def may_take(self) -> bool:
        return self._state != "READY"

    def end(self) -> None:
        """Streams end at their sources."""

    def advance(self, state: bus.State) -> bool:
        """Process what waits, as much at once as the elements like; False when nothing does."""
        self._state = state
        deliveries = self._inbox.receive(self._runner.executor.max_batch) if self.may_take else []
        for camera, _ in self._inbox.take_dropped():
            self._runner.tally.drop(camera, "leaky")
        for _, group in groupby(map(self._admit, deliveries), key=type):
            self._take(list(group))
        return bool(deliveries)

    def answer(self) -> None:
        """Everything is delivered: whatever still comes was sent again by somebody who was restarted."""
        for delivery in self._inbox.receive(max_items=1000):
            self._inbox.acknowledge(delivery.key)

    def _take(self, items: Sequence[Message | Eos | _Refused]) -> None:
        """Items of one sort that follow each other: ends, refused ones, or such as elements may take at once."""
        messages: list[Message] = []
        for item in items:
            match item:
                case Eos(camera):
                    self._runner.end(camera)
                case _Refused(key, reason):
                    self._runner.skip(key, reason)
                case _:
                    messages.append(item)
        if messages:
            self._runner.work(messages)

    def _admit(self, delivery: Delivery) -> Message | Eos | _Refused:
        """The message that was delivered, or why it must be dropped."""
        try:
            item = self._runner.links.unpack(delivery)
        except WireError:
            return _Refused(delivery.key, "malformed")
        except TransportError:
            return _Refused(delivery.key, "stale")
        if item.key != delivery.key:
            return _Refused(delivery.key, "malformed")
        if not isinstance(item, Eos) and self._is_late(item):
            return _Refused(delivery.key, "late")
        return item

    def _is_late(self, item: Message) -> bool:
        if self._lateness_ms is None:
            return False
        return time.time_ns() - frames_of(item)[0].wall_ns > self._lateness_ms * 1e6


@dataclass(frozen=True, slots=True)
class _Refused:
    """A delivery that no element will see."""

    key: Key
    reason: bus.DropReason
