"""The elements of one part, driven item by item: an exception costs the item at which it happened, and no other.

No socket, no process and no clock is known here; the runner has those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from stream.element import Element, Sink, Source, Transform
from stream.errors import StageError
from stream.messages import Key
from stream.registry import label

MOST_FAILURES = 5
"""So many items in a row that an element fails on are a broken element, not broken items."""

Failed = Callable[[Element, Key | None, Exception], None]
"""Told of an element's exception, and of the item that it cost."""


class Chain:
    """``elements`` behind the inbox (or the source) of a part, in order.

    A sink consumes what ``is_new``, and ``delivered`` is told of it.
    """

    def __init__(
        self,
        elements: Sequence[Element],
        failed: Failed,
        is_new: Callable[[Key], bool] = lambda _key: True,
        delivered: Callable[[Key], None] = lambda _key: None,
    ) -> None:
        self._elements = [element for element in elements if not isinstance(element, Source)]
        self._failed = failed
        self._is_new, self._delivered = is_new, delivered
        self._in_a_row: dict[int, int] = {}
        self._open = ExitStack()

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Let every element open what it holds; those that did are closed again when another cannot."""
        with ExitStack() as opened:
            for element in self._elements:
                opened.enter_context(element)
            self._open = opened.pop_all()

    def close(self) -> None:
        """Let every element give back what it holds; idempotent."""
        self._open.close()

    @property
    def max_batch(self) -> int:
        """The most items worth taking at once: what the greediest element wants."""
        return max((element.max_batch for element in self._elements if isinstance(element, Transform)), default=1)

    def pending(self) -> Iterator[Key]:
        """Keys of the items taken in whose output is still to come."""
        for element in self._elements:
            yield from element.pending()

    # -- work -------------------------------------------------------------------------------------------------------

    def process(self, items: Sequence[Any]) -> list[Any]:
        """Take ``items`` through all elements; what leaves the last one, in order. Raises :class:`StageError`."""
        return self._through(self._elements, items)

    def flush(self, camera: str) -> list[Any]:
        """The stream of ``camera`` has ended: everything the transforms still held of it, taken to the end.

        Sinks are told of the end when all of it has reached them.
        """
        outputs: list[Any] = []
        for index, element in enumerate(self._elements):
            if isinstance(element, Transform):
                held = self._collect(element, element.flush(camera), None)
                outputs += self._through(self._elements[index + 1 :], held)
            elif isinstance(element, Sink):
                self._attempt(element, partial(element.ended, camera), None)
        return outputs

    def finish(self) -> None:
        """Every stream has ended: sinks finish what they write."""
        for element in self._elements:
            if isinstance(element, Sink):
                self._attempt(element, element.flush, None)

    def _through(self, elements: Sequence[Element], items: Sequence[Any]) -> list[Any]:
        flowing = list(items)
        for element in elements:
            if isinstance(element, Sink):
                flowing = self._consume(element, flowing)
            elif isinstance(element, Transform):
                flowing = [
                    output for batch in _batches(flowing, element.max_batch) for output in self._step(element, batch)
                ]
        return flowing

    def _consume(self, sink: Sink, items: Iterable[Any]) -> list[Any]:
        for item in items:
            if self._is_new(item.key):  # what an earlier life of this part delivered is not delivered again
                self._attempt(sink, partial(sink.consume, item), item.key)
                self._delivered(item.key)
        return []

    def _step(self, element: Transform, batch: Sequence[Any]) -> list[Any]:
        if len(batch) == 1:
            return self._collect(element, element.process_many(batch), batch[0].key)
        try:
            outputs = list(element.process_many(batch))
        except Exception:  # noqa: BLE001 - which of them it was shows when each goes alone; batches share no state
            return [output for item in batch for output in self._step(element, [item])]
        self._succeeded(element)
        return outputs

    def _collect(self, element: Element, outputs: Iterator[Any], key: Key | None) -> list[Any]:
        """All that comes before an exception, which costs the item ``key``."""
        collected: list[Any] = []

        def collect() -> None:
            for output in outputs:
                collected.append(output)  # noqa: PERF402 - one by one, so that those before an exception are kept

        self._attempt(element, collect, key)
        return collected

    def _attempt(self, element: Element, action: Callable[[], object], key: Key | None) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever an element raises costs its item, not the line
            self._count_failure(element, key, error)
        else:
            self._succeeded(element)

    def _succeeded(self, element: Element) -> None:
        self._in_a_row[id(element)] = 0

    def _count_failure(self, element: Element, key: Key | None, error: Exception) -> None:
        failures = self._in_a_row[id(element)] = self._in_a_row.get(id(element), 0) + 1
        self._failed(element, key, error)
        if failures >= MOST_FAILURES:
            raise StageError(
                f"{label(element)} failed on {failures} items in a row, last with {type(error).__name__}: {error}; "
                "mend the element, or what feeds it"
            ) from error


def _batches(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + most] for start in range(0, len(items), max(1, most)))
