"""One part at work: items go in, through its elements, out to its receivers; and what is done is acknowledged.

This is the common ground of parts that begin with a source and parts that read an inbox (:mod:`stream.runtime.runner`).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, MutableMapping, Sequence

from stream.element import Element
from stream.errors import PartError, StaleFrame, WireError
from stream.messages import EOS_SEQ, Eos, Key, Message
from stream.pipeline.executor import MAX_FAILURES, Executor
from stream.registry import label
from stream.runtime import bus
from stream.runtime.acks import Flow
from stream.runtime.endpoints import Links, frames_of
from stream.runtime.meter import Meter
from stream.runtime.state import Draft

_logger = logging.getLogger(__name__)

Post = Callable[[bus.AnyNotice], None]
Release = Callable[[Key], None]

_FINISHED, _DELIVERED = "finished ", "delivered "


class Tally:
    """What was dropped and what failed; the reporter takes from it while the part runner adds to it."""

    def __init__(self) -> None:
        self.dropped = 0
        self.errors = 0
        self._untold: dict[tuple[str, bus.DropReason], int] = {}
        self._lock = threading.Lock()

    def drop(self, camera: str, reason: bus.DropReason, count: int = 1) -> None:
        """So many items of a camera were dropped."""
        self.dropped += count
        with self._lock:
            self._untold[camera, reason] = self._untold.get((camera, reason), 0) + count

    def take(self) -> list[bus.Qos]:
        """What was dropped since the last call."""
        with self._lock:
            untold, self._untold = self._untold, {}
        return [bus.Qos(camera=camera, reason=reason, dropped=count) for (camera, reason), count in untold.items()]


class PartRunner:
    """The elements of a part between its links.

    ``memory`` is what the part remembers over restarts; ``release`` is told of every input that is done with.
    ``in_work`` inputs are taken in and not finished; ``is_finished`` when the stream of every camera has ended here and
    downstream, and all of it is delivered.
    """

    def __init__(
        self,
        name: str,
        elements: Sequence[Element],
        cameras: Sequence[str],
        links: Links,
        memory: MutableMapping[str, int],
        post: Post,
        release: Release,
    ) -> None:
        self.name, self.cameras, self.links = name, tuple(cameras), links
        self.meter, self.tally = Meter(), Tally()
        self._memory, self._post, self._release = memory, post, release
        before = _numbers(memory, _FINISHED)
        self._reach = sum(element.reach for element in elements)
        self.flow = Flow(len(links.outboxes), self._reach, before)
        self.executor = Executor(
            elements,
            cameras,
            ended=filter(self.flow.has_ended, cameras),
            on_failure=self._failed,
            is_new=self._is_undelivered,
            on_delivered=self._delivered,
        )
        self._told_ended = set(self.executor.ended)
        self._persisted = dict(before)
        self.drafts: list[Draft] = []
        """The memories of transforms, which are to be in step with the items that are done with."""
        self._warned: set[str] = set()
        self._traced: set[int] = set()
        self._last = elements[-1]
        self._unsendable_in_a_row = 0
        self.in_work = 0
        self.is_finished = False
        self._look()

    @property
    def reach(self) -> int:
        """How many earlier items of a camera the elements may look back on."""
        return self._reach

    # -- work -------------------------------------------------------------------------------------------------------

    def work(self, items: Sequence[Message]) -> None:
        """Take items through the elements and send on what they lead to. Raises ``PartError``."""
        began = time.perf_counter()
        keys = [item.key for item in items]
        for key in keys:
            self.flow.take(key)
        outputs = self.executor.process(items)
        outputs = self._fresh(items, outputs)
        self.send(outputs, at=keys[-1])
        self._measure(items, (time.perf_counter() - began) * 1000)
        self._mark(keys[-1])
        self._settle(keys)

    def skip(self, key: Key, reason: bus.DropReason) -> None:
        """An item comes in and is dropped at once."""
        self.flow.take(key)
        self.tally.drop(key[0], reason)
        self._settle([key])

    def end(self, camera: str) -> None:
        """The stream of a camera has ended: flush what is held of it, and pass the end on."""
        key = camera, EOS_SEQ
        self.flow.take(key)
        self.send([*self.executor.end(camera), Eos(camera)], at=key)
        self._mark(key)
        self._settle([key])

    def fault(self, element: Element, error: Exception) -> None:
        """Something that only the user can mend, though the line goes on: the run as a whole has failed."""
        self.tally.errors += 1
        self._post(bus.Error(part=self.name, element=label(element), text=str(error), mendable=True))

    def send(self, outputs: Iterable[Message | Eos], at: Key) -> None:
        """Send what was made while input ``at`` was processed to every receiver."""
        for output in outputs:
            if self.links.outboxes and self.flow.is_new(output.key):
                self._send(output, at)

    def listen(self) -> None:
        """Hear what receivers are done with, and acknowledge what this part is done with."""
        for branch, outbox in enumerate(self.links.outboxes):
            for key in outbox.take_acknowledged():
                self.flow.acknowledged(branch, key)
        self._acknowledge()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _send(self, output: Message | Eos, at: Key) -> None:
        try:
            packed = self.links.pack(output)
        except WireError as error:
            return self._unsendable(output.key, error)
        self._unsendable_in_a_row = 0
        if not self.flow.send(output.key, at):
            camera, seq = output.key
            self._warn_once(
                f"{self.name} gives item {seq} of {camera!r} twice or late; make one item of a frame, in order"
            )
            return None
        for outbox, buffers in zip(self.links.outboxes, packed, strict=True):
            outbox.send(output.key, buffers)
        return None

    def _unsendable(self, key: Key, error: WireError) -> None:
        """The last element gave something that is no message: its failure, as an exception would be."""
        self._failed(self._last, key, error)
        self._unsendable_in_a_row += 1
        if self._unsendable_in_a_row >= MAX_FAILURES:
            raise PartError(f"{label(self._last)} gave {self._unsendable_in_a_row} bad messages in a row: {error}")

    def _fresh(self, items: Iterable[Message], outputs: list[Message]) -> list[Message]:
        """Without what was made of pixels that were overwritten meanwhile."""
        stale: set[Key] = set()
        for item in items:
            try:
                self.links.check(item)
            except StaleFrame:
                stale.add(item.key)
                self.tally.drop(item.key[0], "stale")
        return [output for output in outputs if output.key not in stale]

    def _measure(self, items: Sequence[Message], took_ms: float) -> None:
        now_ns = time.time_ns()
        for item in items:
            age_ms = (now_ns - frames_of(item)[0].wall_ns) / 1e6
            self.meter.count(took_ms / len(items), age_ms)

    def _mark(self, key: Key) -> None:
        for draft in self.drafts:
            draft.mark(key)

    def _settle(self, keys: Iterable[Key]) -> None:
        self.flow.processed(keys, self.executor.pending())
        self._acknowledge()

    def _acknowledge(self) -> None:
        """First remember what is finished, then say so: who is killed in between says it again."""
        released = self.flow.release()
        self._persist()
        for draft in self.drafts:
            for key in released:
                draft.commit(key)
        for key in released:
            self._release(key)
        self._tell_ended()
        self._look()

    def _look(self) -> None:
        """Note down what other threads may want to know: the books themselves are this thread's."""
        self.in_work = self.flow.unfinished()
        self.is_finished = all(self.flow.has_ended(camera) for camera in self.cameras)

    def _persist(self) -> None:
        for camera, seq in self.flow.finished().items():
            if self._persisted.get(camera) != seq:
                self._memory[_FINISHED + camera] = self._persisted[camera] = seq

    def _tell_ended(self) -> None:
        for camera in self.executor.ended - self._told_ended:
            if self.flow.has_ended(camera):
                self._told_ended.add(camera)
                self._post(bus.Eos(part=self.name, camera=camera))

    def _is_undelivered(self, key: Key) -> bool:
        return self.flow.is_new(key) and key[1] > self._memory.get(_DELIVERED + key[0], -1)

    def _delivered(self, key: Key) -> None:
        """Remembered item by item: who is killed between two of a batch does not give the first one again."""
        self._memory[_DELIVERED + key[0]] = key[1]

    def _failed(self, element: Element, key: Key | None, error: Exception) -> None:
        camera, seq = key or ("", -1)
        self.tally.errors += 1
        if key is not None:
            self.tally.drop(camera, "failed")
        self._trace_once(element, error)
        text = f"{type(error).__name__}: {error}"
        self._post(bus.Error(part=self.name, element=label(element), text=text, camera=camera, seq=min(seq, EOS_SEQ)))

    def _trace_once(self, element: Element, error: Exception) -> None:
        """The first traceback of each element goes to stderr, where whoever mends it looks."""
        if id(element) not in self._traced:
            self._traced.add(id(element))
            sys.stderr.write(bus.printable("".join(traceback.format_exception(error))))

    def _warn_once(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < 100:
            self._warned.add(text)
            _logger.warning("%s", text)


def _numbers(memory: MutableMapping[str, int], kind: str) -> dict[str, int]:
    """What ``memory`` holds of one kind, by camera."""
    return {name.removeprefix(kind): seq for name, seq in memory.items() if name.startswith(kind)}
