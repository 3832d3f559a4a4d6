"""The executor: drives elements in one process, item by item, whether for a part, a whole pipeline or a test.

>>> from stream.elements.window import Windower
>>> from stream.testing import make_people
>>> [window.key for window in through(Windower(past=0, future=1), [make_people(0), make_people(1)])]
[('cam', 0), ('cam', 1)]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from engines.resource import Resource
from stream.element import Element, Sink, Source, Transform
from stream.errors import FullDiskError, PartError, StartError
from stream.messages import EOS_SEQ, Eos, Key, Message
from stream.pipeline.silence import SilenceMonitor
from stream.pipeline.wiring import Part
from stream.registry import error_context, label

MAX_FAILURES = 5
"""An element that fails on this many items in a row is broken; fewer are taken for broken items."""

OnFailure = Callable[[Element, Key | None, Exception], None]
"""Receives the element, the key of the item that is lost, and what was raised. At the end of the stream of a camera the
seq of the key is ``EOS_SEQ``; at the end of all, where a sink is flushed, the key is None."""


class Executor(Resource):
    """Drives ``elements``, in order. Use it in a ``with`` statement, which opens and closes them.

    What an element raises is raised to the caller, unless there is ``on_failure``: an exception then costs the item
    alone, and after ``MAX_FAILURES`` in a row :class:`PartError` is raised, or :class:`FullDiskError` if that was the
    last one; a :class:`StartError` is raised at once. ``cameras`` are those whose streams reach these elements,
    ``ended`` those of them that have ended before. A sink consumes the items for which ``is_new`` is true;
    ``on_delivered`` is called after each of them. ``on_transformed`` is called with each transform and the keys of the
    items that it has just processed together; at the end of a stream with ``(camera, EOS_SEQ)``.

    A source among the elements is opened with them and read through :meth:`frames`.
    """

    def __init__(
        self,
        elements: Sequence[Element],
        cameras: Collection[str] = (),
        *,
        ended: Iterable[str] = (),
        on_failure: OnFailure | None = None,
        is_new: Callable[[Key], bool] = lambda _key: True,
        on_delivered: Callable[[Key], None] = lambda _key: None,
        on_transformed: Callable[[Element, Sequence[Key]], None] = lambda _element, _keys: None,
    ) -> None:
        self._elements = tuple(elements)
        self._cameras, self.ended = frozenset(cameras), set(ended)
        self._on_failure, self._is_new = on_failure, is_new
        self._on_delivered, self._on_transformed = on_delivered, on_transformed
        self._failures_in_a_row: dict[int, int] = {}
        self._opened = ExitStack()
        first = self._elements[0]
        self.silence = SilenceMonitor(first) if isinstance(first, Source) and first.is_live else None
        """The monitor of a live source; None where there is none."""

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the elements, the source last; those that did open are closed again when another cannot."""
        with ExitStack() as opened:
            for element in sorted(self._elements, key=lambda element: isinstance(element, Source)):
                with error_context(element):
                    opened.enter_context(element)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the elements; idempotent."""
        self._opened.close()

    @property
    def max_batch(self) -> int:
        """The most items worth passing to :meth:`process` at once."""
        return max((element.max_batch for element in self._elements if isinstance(element, Transform)), default=1)

    def pending(self) -> Iterator[Key]:
        """Keys of the items taken in whose output is still to come."""
        for element in self._elements:
            yield from element.pending()

    # -- work -------------------------------------------------------------------------------------------------------

    def frames(self) -> Iterator[Any]:
        """What the source gives, ``None`` included; nothing where the first element is no source."""
        first = self._elements[0]
        if isinstance(first, Source):
            with error_context(first):
                yield from self.silence.watch(first.frames()) if self.silence else first.frames()

    def process(self, items: Sequence[Any]) -> list[Any]:
        """Pass ``items`` through all elements behind the source, and return what leaves the last one, in order."""
        return self._pass(self._elements, items)

    def flush(self, camera: str | None = None) -> list[Any]:
        """Pass on what transforms still hold of ``camera``, or of all where it is None, and return what leaves.

        A sink receives the end of ``camera`` after the last item.
        """
        outputs: list[Any] = []
        key = None if camera is None else (camera, EOS_SEQ)
        for index, element in enumerate(self._elements):
            if isinstance(element, Transform):
                held = self._collect(element, element.flush(camera), key)
                if key is not None:
                    self._on_transformed(element, [key])
                outputs += self._pass(self._elements[index + 1 :], held)
            elif isinstance(element, Sink) and camera is not None:
                self._attempt(element, partial(element.end, camera), key)
        return outputs

    def end(self, camera: str) -> list[Any]:
        """:meth:`flush` at the end of the stream of ``camera``, once; at that of the last camera, :meth:`finish`."""
        if camera in self.ended:
            return []
        self.ended.add(camera)
        outputs = self.flush(camera)
        if self._cameras <= self.ended:
            self.finish()
        return outputs

    def finish(self) -> None:
        """Flush the sinks: every stream has ended."""
        for element in self._elements:
            if isinstance(element, Sink):
                self._attempt(element, element.flush, None)

    def _pass(self, elements: Sequence[Element], items: Sequence[Any]) -> list[Any]:
        flowing = list(items)
        for element in elements:
            if isinstance(element, Sink):
                flowing = self._consume(element, flowing)
            elif isinstance(element, Transform):
                batches = _split(flowing, element.max_batch)
                flowing = [output for batch in batches for output in self._transform(element, batch)]
        return flowing

    def _consume(self, sink: Sink, items: Iterable[Any]) -> list[Any]:
        for item in items:
            if self._is_new(item.key):  # a restarted part gets items again that it has delivered before
                self._attempt(sink, partial(sink.consume, item), item.key)
                self._on_delivered(item.key)
        return []

    def _transform(self, element: Transform, batch: Sequence[Any]) -> list[Any]:
        if len(batch) == 1 or self._on_failure is None:
            outputs = self._collect(element, element.process_many(batch), batch[0].key)
        else:
            try:
                outputs = list(element.process_many(batch))
            except Exception:  # noqa: BLE001 - alone, each item shows whether it is the one; batches share no state
                return [output for item in batch for output in self._transform(element, [item])]
            self._reset_failures(element)
        self._on_transformed(element, [item.key for item in batch])
        return outputs

    # -- failures ---------------------------------------------------------------------------------------------------

    def _collect(self, element: Element, outputs: Iterable[Any], key: Key | None) -> list[Any]:
        """All outputs before an exception, which costs the item ``key``."""
        collected: list[Any] = []
        self._attempt(element, lambda: collected.extend(outputs), key)
        return collected

    def _attempt(self, element: Element, action: Callable[[], object], key: Key | None) -> None:
        try:
            with error_context(element):
                action()
        except Exception as error:
            if self._on_failure is None:
                raise
            self._count_failure(element, error)  # first, since an item that ends the part comes again
            self._on_failure(element, key, error)
        else:
            self._reset_failures(element)

    def _reset_failures(self, element: Element) -> None:
        self._failures_in_a_row[id(element)] = 0

    def _count_failure(self, element: Element, error: Exception) -> None:
        if isinstance(error, StartError):
            raise error
        failures = self._failures_in_a_row[id(element)] = self._failures_in_a_row.get(id(element), 0) + 1
        if failures >= MAX_FAILURES:
            if isinstance(error, FullDiskError):
                raise error
            raise PartError(
                f"{label(element)} failed on {failures} items in a row, last with {type(error).__name__}: {error}; "
                "fix the element or what feeds it"
            ) from error


def through(element: Element, items: Iterable[Message] = ()) -> Iterator[Any]:
    """Yield what ``element`` makes of ``items`` (a source: its frames; a sink: nothing), each as it is asked for.

    What the element raises is raised here.
    """
    with Executor([element]) as executor:
        yield from (frame for frame in executor.frames() if frame is not None)
        for item in items:
            yield from executor.process([item])
        yield from executor.flush()
        executor.finish()


def run_in_process(parts: Sequence[Part]) -> Iterator[Any]:
    """Run ``parts``, upstream first, to the end of every source; yields the items that no part and no sink takes.

    Sources take turns, a frame each, or as many as an element takes at once if the source reads ahead. As in a line of
    processes, items of a camera keep their order, and the end of the stream follows the last item. A source that reads
    several cameras one after the other, as files are, yields :class:`Eos` at the end of each. What an element raises is
    raised here.
    """
    with ExitStack() as opened:
        executors = [opened.enter_context(Executor(part.elements, part.cameras)) for part in parts]
        yield from _Run(parts, executors).items()


class _Run:
    def __init__(self, parts: Sequence[Part], executors: Sequence[Executor]) -> None:
        self._executors = dict(zip((part.name for part in parts), executors, strict=True))
        self._sources = [part for part in parts if part.source is not None]
        self._batch = max((executor.max_batch for executor in executors), default=1)
        self._readers = {part.name: [other for other in parts if other.inbox in part.outboxes] for part in parts}

    def items(self) -> Iterator[Any]:
        running = [(part, self._executors[part.name].frames()) for part in self._sources]
        while running:
            for part, frames in tuple(running):
                turn = _Turn(frames, self._batch if part.source is not None and part.source.reads_ahead else 1)
                if turn.taken:
                    yield from self._process(part, turn.taken)
                if turn.error is not None:
                    raise turn.error
                if turn.is_last:
                    running.remove((part, frames))
                for camera in part.cameras if turn.is_last else turn.ended:
                    yield from self._end(part, camera)

    def _process(self, part: Part, items: Sequence[Any]) -> Iterator[Any]:
        yield from self._pass_on(part, self._executors[part.name].process(items))

    def _end(self, part: Part, camera: str) -> Iterator[Any]:
        yield from self._pass_on(part, self._executors[part.name].end(camera))
        for reader in self._readers[part.name]:
            yield from self._end(reader, camera)

    def _pass_on(self, part: Part, outputs: Sequence[Any]) -> Iterator[Any]:
        if not part.outboxes:
            yield from outputs
            return
        readers = self._readers[part.name]
        # Branches get each item before the next, so that what they yield is in the order of the frames.
        for items in [outputs] if len(readers) == 1 else [[output] for output in outputs]:
            for reader in readers if items else ():
                yield from self._process(reader, items)


class _Turn:
    """What a source gives in one turn: at most ``most`` frames, of one camera where others follow.

    ``error`` is what it raised after them, which is to be raised when they have gone all the way.
    """

    def __init__(self, frames: Iterator[Any], most: int) -> None:
        self.taken: list[Any] = []
        self.ended: list[str] = []
        self.is_last = False
        self.error: Exception | None = None
        try:
            self._read(frames, most)
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            self.error = error

    def _read(self, frames: Iterator[Any], most: int) -> None:
        for frame in frames:
            if isinstance(frame, Eos):
                self.ended.append(frame.camera)
            elif frame is not None:
                self.taken.append(frame)
            if frame is None or self.ended or len(self.taken) == most:
                return
        self.is_last = True


def _split(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), max(1, size)))
