"""Takes items through the elements of one part, sends the outputs to its receivers, and acknowledges what is done.

Parts that begin with a source and parts that read an inbox have this in common; see :mod:`stream.runtime.inputs`.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence

from stream.element import Element
from stream.errors import PartError, PosestreamError, StaleFrame, WireError, describe_error, format_traceback
from stream.messages import EOS_SEQ, Eos, Key, Message
from stream.pipeline.executor import MAX_FAILURES, Executor
from stream.registry import label
from stream.runtime import bus
from stream.runtime.acks import Flow
from stream.runtime.endpoints import Links, get_frames
from stream.runtime.meter import Meter
from stream.runtime.state import Draft, Memory

_logger = logging.getLogger(__name__)

Post = Callable[[bus.AnyNotice], None]
Release = Callable[[Key], None]

_FINISHED, _RELEASED, _DELIVERED, _DROPPED = "finished ", "released ", "delivered ", "dropped "


class Tally:
    """Counts drops and errors; the heartbeat's thread may take from it while the part's thread adds to it.

    ``before`` is what was dropped before a restart, by camera and reason.
    """

    def __init__(self, before: Mapping[tuple[str, bus.DropReason], int] | None = None) -> None:
        self.dropped = 0
        self.errors = 0
        self._totals = dict(before or {})
        self._new_drops = dict.fromkeys(self._totals, 0)
        self._lock = threading.Lock()

    def drop(self, camera: str, reason: bus.DropReason, count: int = 1) -> None:
        """Count dropped items of a camera."""
        self.dropped += count
        key = camera, reason
        with self._lock:
            self._totals[key] = self._totals.get(key, 0) + count
            self._new_drops[key] = self._new_drops.get(key, 0) + count

    def take(self) -> list[bus.Qos]:
        """The items dropped since the last call; at the first one, what was dropped before a restart too."""
        with self._lock:
            new_drops, self._new_drops = self._new_drops, {}
            return [
                bus.Qos(camera=camera, reason=reason, dropped=count, total=self._totals[camera, reason])
                for (camera, reason), count in new_drops.items()
            ]

    def totals(self) -> dict[tuple[str, bus.DropReason], int]:
        """How many items were dropped since the line started, by camera and reason."""
        with self._lock:
            return dict(self._totals)


class PartRunner:
    """The elements of a part between its links.

    ``memory`` outlives restarts. ``release`` is called with the key of every input that no restart would need.
    ``unfinished`` inputs are taken in and not finished. ``is_finished`` when the stream of every camera has ended here
    and downstream, and all of it is delivered.
    """

    def __init__(
        self,
        name: str,
        elements: Sequence[Element],
        cameras: Sequence[str],
        links: Links,
        memory: Memory,
        post: Post,
        release: Release,
    ) -> None:
        self.name, self.cameras, self.links = name, tuple(cameras), links
        self._memory, self._post, self._release = memory, post, release
        self._reach = sum(element.reach for element in elements)
        self._progress = {
            name: seq for name, seq in memory.items() if name.startswith((_FINISHED, _RELEASED, _DROPPED))
        }
        self.meter, self.tally = Meter(), Tally(_read_drops(self._progress))
        before = (_numbers(self._progress, kind) for kind in (_FINISHED, _RELEASED))
        self.flow = Flow(len(links.outboxes), self._reach, *before)
        self.executor = Executor(
            elements,
            cameras,
            ended=filter(self.flow.has_ended, cameras),
            on_failure=self._on_failure,
            is_new=self._is_undelivered,
            on_delivered=self._on_delivered,
            on_transformed=self._mark_draft,
        )
        self._posted_ends = set(self.executor.ended)
        self.drafts: dict[int, Draft] = {}
        """The memory of each transform, by its ``id()``; each change becomes final with the item it was made for."""
        self._warned: set[str] = set()
        self._named: set[tuple[str, bus.DropReason]] = set()
        self._printed: set[int] = set()
        self._is_restart = "incarnation" in memory
        self._last = elements[-1]
        self._bad_messages_in_a_row = 0
        self.unfinished = 0
        self.is_finished = False
        self._update_counts()

    @property
    def reach(self) -> int:
        """How many earlier items of a camera the elements may look back on."""
        return self._reach

    # -- work -------------------------------------------------------------------------------------------------------

    def process(self, items: Sequence[Message]) -> None:
        """Take items through the elements and send the outputs. Raises :class:`PartError`."""
        began = time.perf_counter()
        keys = [item.key for item in items]
        for key in keys:
            self.flow.take(key)
        outputs = self._without_stale(items, self.executor.process(items))
        self.send(outputs)
        self._measure(items, (time.perf_counter() - began) * 1000)
        self._settle(keys)

    def skip(self, key: Key, reason: bus.DropReason, why: str) -> None:
        """Take an item in and drop it at once."""
        self.flow.take(key)
        self._drop(key, reason, why)
        self._settle([key])

    def end(self, camera: str) -> None:
        """The stream of a camera has ended: flush what elements hold of it, and send the end."""
        key = camera, EOS_SEQ
        self.flow.take(key)
        self.send([*self.executor.end(camera), Eos(camera)])
        self._settle([key])

    def report_error(self, element: Element, error: Exception, camera: str) -> None:
        """Post an error that only the user can correct: the line goes on to its end, but the run has failed."""
        self.tally.errors += 1
        element_name = label(element)
        self._post(bus.Error(part=self.name, element=element_name, text=str(error), camera=camera, needs_user=True))

    def send(self, outputs: Iterable[Message | Eos]) -> None:
        """Send what was made of the inputs taken so far to every receiver."""
        for output in outputs:
            if self.links.outboxes and self.flow.is_new(output.key):
                self._send(output)

    def receive_acknowledgements(self) -> None:
        """Take in the acknowledgements of receivers, and acknowledge upstream what follows from them."""
        for branch, outbox in enumerate(self.links.outboxes):
            for key in outbox.take_acknowledged():
                self.flow.acknowledge(branch, key)
        self._acknowledge()

    # -- details ------------------------------------------------------------------------------------------------------

    def _send(self, output: Message | Eos) -> None:
        try:
            packed = self.links.pack(output)
        except WireError as error:
            return self._on_bad_message(output.key, error)
        self._bad_messages_in_a_row = 0
        if not self.flow.send(output.key):
            camera, seq = output.key
            self._warn_once(
                f"{self.name} gives item {seq} of {camera!r} twice or late; yield one item for a frame, in order"
            )
            return None
        for outbox, buffers in zip(self.links.outboxes, packed, strict=True):
            outbox.send(output.key, buffers)
        return None

    def _on_bad_message(self, key: Key, error: WireError) -> None:
        """An output that cannot be packed is a failure of the last element, as an exception is."""
        self._on_failure(self._last, key, error)
        self._bad_messages_in_a_row += 1
        if self._bad_messages_in_a_row >= MAX_FAILURES:
            raise PartError(f"{label(self._last)} gave {self._bad_messages_in_a_row} bad messages in a row: {error}")

    def _without_stale(self, items: Iterable[Message], outputs: list[Message]) -> list[Message]:
        """The outputs but those of pixels that were overwritten meanwhile."""
        stale: set[Key] = set()
        for item in items:
            try:
                self.links.check(item)
            except StaleFrame as error:
                stale.add(item.key)
                self._drop(item.key, "stale", describe_error(error))
        return [output for output in outputs if output.key not in stale]

    def _drop(self, key: Key, reason: bus.DropReason, why: str) -> None:
        """Count a dropped item. The first of a camera that is lost is named at once: the count is shown at the end, and
        not at all where the supervisor is killed."""
        camera, seq = key
        self.tally.drop(camera, reason)
        if reason in bus.LOSSES and (camera, reason) not in self._named:
            self._named.add((camera, reason))
            item = f"frame {seq}" if seq != EOS_SEQ else "the end"
            _logger.error("%s of camera %r was dropped (%s): %s", item, camera, reason, why)

    def _measure(self, items: Sequence[Message], took_ms: float) -> None:
        now_ns = time.time_ns()
        for item in items:
            age_ms = (now_ns - get_frames(item)[0].wall_ns) / 1e6
            self.meter.count(took_ms / len(items), age_ms)

    def _mark_draft(self, element: Element, keys: Sequence[Key]) -> None:
        draft = self.drafts.get(id(element))
        if draft is not None:
            draft.mark(keys)

    def _settle(self, keys: Iterable[Key]) -> None:
        self.flow.mark_processed(keys, self.executor.pending())
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Store what is done before acknowledging it: a part killed in between acknowledges it again."""
        released = self.flow.release()
        self._store(released)
        for key in released:
            self._release(key)
        self._post_ends()
        self._update_counts()

    def _update_counts(self) -> None:
        """Copy what the heartbeat's thread reads, since the flow belongs to this thread."""
        self.unfinished = self.flow.count_unfinished()
        self.is_finished = all(self.flow.has_ended(camera) for camera in self.cameras)

    def _store(self, released: Sequence[Key]) -> None:
        """Store how far this part is, together with what elements remember of the inputs it will not take in again."""
        progress = {_FINISHED + camera: seq for camera, seq in self.flow.finished_seqs().items()}
        progress |= {_RELEASED + camera: seq for camera, seq in self.flow.released_seqs().items()}
        changes = self._take_changes(progress)
        remembered = [draft.commit(released) for draft in self.drafts.values()] if released else []
        if changes or any(remembered):
            self._memory.store({**changes, **dict(ChainMap(*remembered))})

    def _take_changes(self, progress: Mapping[str, int]) -> dict[str, int]:
        """What of ``progress`` and of the items that were lost is not stored yet."""
        losses = {
            f"{_DROPPED}{reason} {camera}": count
            for (camera, reason), count in self.tally.totals().items()
            if reason in bus.LOSSES
        }
        changes = dict({**progress, **losses}.items() - self._progress.items())
        self._progress |= changes
        return changes

    def _post_ends(self) -> None:
        for camera in self.executor.ended - self._posted_ends:
            if self.flow.has_ended(camera):
                self._posted_ends.add(camera)
                self._post(bus.Eos(part=self.name, camera=camera))

    def _is_undelivered(self, key: Key) -> bool:
        return self.flow.is_new(key) and key[1] > self._memory.get(_DELIVERED + key[0], -1)

    def _on_delivered(self, key: Key) -> None:
        """Stored item by item: a part killed between two items of a batch does not deliver the first one again."""
        if losses := self._take_changes({}):
            self._memory.store({_DELIVERED + key[0]: key[1], **losses})
        else:
            self._memory[_DELIVERED + key[0]] = key[1]

    def _on_failure(self, element: Element, key: Key | None, error: Exception) -> None:
        camera, seq = key or ("", -1)
        self.tally.errors += 1
        if key is not None and seq != EOS_SEQ:
            self.tally.drop(camera, "failed")
        self._print_once(element, error)
        text = f"{type(error).__name__}: {error}"
        self._post(bus.Error(part=self.name, element=label(element), text=text, camera=camera, seq=min(seq, EOS_SEQ)))

    def _print_once(self, element: Element, error: Exception) -> None:
        """Write the first failure of each element to stderr: the traceback of a fault in its code, for its author; one
        line of an error that the user can mend, and of a fault whose traceback came before this part's restart."""
        if id(element) not in self._printed:
            self._printed.add(id(element))
            is_line = self._is_restart or isinstance(error, PosestreamError)
            line = describe_error(error).removeprefix(f"{label(element)} ")
            sys.stderr.write(bus.sanitize(f"{label(element)}: {line}\n" if is_line else format_traceback(error)))

    def _warn_once(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < 100:
            self._warned.add(text)
            _logger.warning("%s", text)


def _numbers(progress: Mapping[str, int], kind: str) -> dict[str, int]:
    """The numbers of one kind, by camera."""
    return {name.removeprefix(kind): seq for name, seq in progress.items() if name.startswith(kind)}


def _read_drops(progress: Mapping[str, int]) -> dict[tuple[str, bus.DropReason], int]:
    return {
        (camera, reason): count
        for reason in bus.LOSSES
        for camera, count in _numbers(progress, f"{_DROPPED}{reason} ").items()
    }
