"""The input of a part: the frames of a source, or the deliveries of an inbox."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from stream import wording
from stream.element import Source
from stream.errors import ShortageError, SourceError, TransportError, WireError, describe_error
from stream.messages import Eos, Frame, Key, Message
from stream.runtime import bus
from stream.runtime.endpoints import get_frames
from stream.runtime.part_runner import PartRunner
from stream.runtime.state import Memory
from stream.transports.base import Delivery

_logger = logging.getLogger(__name__)


class Input(Protocol):
    """What the loop of a part needs of either."""

    @property
    def can_take(self) -> bool:
        """False while items that wait are to be left waiting."""

    def open(self, opened: ExitStack) -> None:
        """Open the elements, unless everything was delivered before a restart; ``opened`` closes them."""

    def advance(self, state: bus.State) -> bool:
        """Take and process what there is; False when there was nothing, or no credit."""

    def end(self) -> None:
        """End the streams at the user's request: a source ends its own, other parts receive the end."""

    def acknowledge_rest(self) -> None:
        """Everything is delivered: acknowledge what still comes."""


class SourceInput:
    """The input of a part that begins with a source.

    At most ``in_flight`` frames are unreleased at a time: a file waits then, and a live source drops what comes.
    """

    def __init__(self, source: Source, runner: PartRunner, memory: Memory, in_flight: int, *, is_restart: bool) -> None:
        self._source, self._runner, self._memory, self._in_flight = source, runner, memory, in_flight
        self._camera = runner.cameras[0]
        self._is_restart = is_restart
        self._offset: int | None = None
        self._frames: Iterator[Frame | None] = iter(())
        self._is_ended = runner.is_finished

    def open(self, opened: ExitStack) -> None:
        """Open the elements, source last, unless everything was delivered before a restart."""
        if not self._is_ended:
            self._frames = opened.enter_context(self._runner.executor).frames()

    @property
    def can_take(self) -> bool:
        return True

    def end(self) -> None:
        """End the stream as if the source had ended."""
        if not self._is_ended:
            self._is_ended = True
            close = getattr(self._frames, "close", None)
            if close is not None:
                close()
            self._runner.end(self._camera)

    def acknowledge_rest(self) -> None:
        """Nothing is upstream of a source."""

    def advance(self, state: bus.State) -> bool:
        """Take one more frame; False when the stream has ended, or there is no credit."""
        can_take = self._source.is_live or (state == "PLAYING" and self._has_credit())
        if self._is_ended or not can_take:
            return False
        frame = self._next()
        if frame is not None:
            self._take(self._numbered(frame), state)
        return True

    def _has_credit(self) -> bool:
        return self._runner.flow.count_unreleased(self._camera) < self._in_flight

    def _next(self) -> Frame | None:
        try:
            return next(self._frames)
        except StopIteration:
            self._report_unused()
            self.end()
        except SourceError as error:
            if self._source.is_live:
                raise
            self._runner.report_error(self._source, error, self._camera)
            self.end()
        return None

    def _report_unused(self) -> None:
        """Say what of a live stream that has ended came before the line was ready; if that was all, it is an error."""
        unused = self._memory.get("unused", 0)
        if not unused:
            return
        if "taken" in self._memory:
            frames = wording.count(unused, "frame")
            _logger.warning("%s of camera %r came before all parts of the line were ready", frames, self._camera)
            return
        error = SourceError(
            f"the stream of camera {self._camera!r} ended before all parts of the line were ready, which got none "
            f"of its frames ({unused}); begin the stream later, or read a file"
        )
        self._runner.report_error(self._source, error, self._camera)

    def _numbered(self, frame: Frame) -> Frame:
        """The frame under its camera's name; a live source that was restarted continues its count."""
        if self._offset is None:
            last = self._memory.get("taken", -1)
            is_counted_anew = self._is_restart and self._source.is_live and frame.seq <= last
            self._offset = last + 1 - frame.seq if is_counted_anew else 0
        if frame.camera == self._camera and not self._offset:
            return frame
        return replace(frame, camera=self._camera, seq=frame.seq + self._offset)

    def _take(self, frame: Frame, state: bus.State) -> None:
        if not self._source.is_live and self._runner.flow.was_released(frame.key):
            return  # delivered before the restart, and no later frame needs it
        if self._source.is_live and state != "PLAYING":
            self._memory["unused"] = self._memory.get("unused", 0) + 1  # with those of before a restart
            return  # a paused live source is still read, or its frames would be late from then on
        self._memory["taken"] = frame.seq
        self._runner.receive_acknowledgements()
        if self._has_credit():
            self._runner.process([self._runner.links.store_pixels(frame)])
        else:
            self._runner.tally.drop(self._camera, "no credit")


class InboxInput:
    """The input of a part that reads an inbox.

    Items older than ``lateness_ms`` by the clock ``wall_ns`` are dropped; None keeps all.
    """

    def __init__(
        self, runner: PartRunner, lateness_ms: float | None, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        if runner.links.inbox is None:
            raise TransportError(f"{runner.name} has neither a source nor an inbox; begin its line with one")
        self._runner, self._inbox = runner, runner.links.inbox
        self._lateness_ms, self._wall_ns = lateness_ms, wall_ns
        self._state: bus.State = "PAUSED"

    def open(self, opened: ExitStack) -> None:
        """Open the elements, unless everything was delivered before a restart."""
        if not self._runner.is_finished:
            opened.enter_context(self._runner.executor)

    @property
    def can_take(self) -> bool:
        return self._state != "READY"

    def end(self) -> None:
        """Streams end at their sources."""

    def advance(self, state: bus.State) -> bool:
        """Process what waits, at most one batch of the elements; False when nothing waits."""
        self._state = state
        deliveries = self._inbox.receive(self._runner.executor.max_batch) if self.can_take else []
        for camera, _ in self._inbox.take_dropped():
            self._runner.tally.drop(camera, "leaky")
        new = [delivery for delivery in deliveries if not self._was_released(delivery.key)]
        for _, group in groupby(map(self._admit, new), key=type):
            self._take(list(group))
        return bool(deliveries)

    def _was_released(self, key: Key) -> bool:
        """True for what was done with before a restart, whose acknowledgement was lost: acknowledge it once more."""
        was_released = self._runner.flow.was_released(key)
        if was_released:
            self._inbox.acknowledge(key)
        return was_released

    def acknowledge_rest(self) -> None:
        """Everything is delivered: what still comes was sent again by a part that was restarted."""
        for delivery in self._inbox.receive(max_items=1000):
            self._inbox.acknowledge(delivery.key)

    def _take(self, items: Sequence[Message | Eos | _Rejected]) -> None:
        """Take consecutive items of one kind: ends of streams, rejected deliveries, or messages for one batch."""
        messages: list[Message] = []
        for item in items:
            match item:
                case Eos(camera):
                    self._runner.end(camera)
                case _Rejected(key, reason, why):
                    self._runner.skip(key, reason, why)
                case _:
                    messages.append(item)
        if messages:
            self._runner.process(messages)

    def _admit(self, delivery: Delivery) -> Message | Eos | _Rejected:
        """The message that was delivered, or why it is dropped. Raises :class:`ShortageError`: it comes again."""
        try:
            item = self._runner.links.unpack(delivery)
        except WireError as error:
            return _Rejected(delivery.key, "malformed", describe_error(error))
        except ShortageError:
            raise
        except TransportError as error:
            return _Rejected(delivery.key, "stale", describe_error(error))
        if item.key != delivery.key:
            return _Rejected(delivery.key, "malformed", "it holds another frame than it is said to")
        if not isinstance(item, Eos) and self._is_late(item):
            return _Rejected(delivery.key, "late")
        return item

    def _is_late(self, item: Message) -> bool:
        if self._lateness_ms is None:
            return False
        return self._wall_ns() - get_frames(item)[0].wall_ns > self._lateness_ms * 1e6


@dataclass(frozen=True, slots=True)
class _Rejected:
    """A delivery that is dropped before elements see it."""

    key: Key
    reason: bus.DropReason
    why: str = ""
