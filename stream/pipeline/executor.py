"""Several lines in one process: sources take turns, items and ends of streams run down to every end.

The order is the one a line of processes keeps for each camera: an item goes all the way before the next one starts, and
a camera's end follows its last item through every element, which flushes what it held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from stream.element import Element, Sink, Source, Transform
from stream.messages import Eos
from stream.pipeline.wiring import Part


def run_in_process(parts: Sequence[Part]) -> Iterator[Any]:
    """Run ``parts``, upstream first, to the end of every source; yields what leaves them and no part reads."""
    with ExitStack() as opened:
        for element in (element for part in parts for element in part.elements):
            opened.enter_context(element)
        yield from _Run(parts).items()


class _Run:
    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._ended: dict[int, set[str]] = {id(part): set() for part in parts}

    def items(self) -> Iterator[Any]:
        """Poll the sources in turn until all have ended."""
        running = [(part, part.elements[0].frames()) for part in self._parts if isinstance(part.elements[0], Source)]
        while running:
            for part, frames in tuple(running):
                for frame in _next(frames):
                    yield from self._down(part, 1, frame)
                    break
                else:
                    running.remove((part, frames))
                    for camera in part.cameras:
                        yield from self._down(part, 1, Eos(camera))

    def _down(self, part: Part, index: int, item: Any) -> Iterator[Any]:
        """Give ``item`` to ``part.elements[index]`` and what that leads to, onwards to every end."""
        if item is None:
            return
        if index == len(part.elements):
            yield from self._out(part, item)
            return
        for result in self._through(part, part.elements[index], item):
            yield from self._down(part, index + 1, result)

    def _through(self, part: Part, element: Element, item: Any) -> Iterator[Any]:
        match element, item:
            case Transform(), Eos(camera):
                yield from element.flush(camera)
                yield item
            case Transform(), _:
                yield from element.process(item)
            case Sink(), Eos(camera):
                self._end(part, element, camera)
            case Sink(), _:
                element.consume(item)

    def _end(self, part: Part, sink: Sink, camera: str) -> None:
        """A sink is told of each end, and flushed once, when all its cameras have ended."""
        sink.ended(camera)
        ended = self._ended[id(part)]
        ended.add(camera)
        if ended == set(part.cameras):
            sink.flush()

    def _out(self, part: Part, item: Any) -> Iterator[Any]:
        for reader in (other for other in self._parts if other.inbox in part.outboxes and other.inbox is not None):
            yield from self._down(reader, 0, item)
        if not part.outboxes and not isinstance(item, Eos):
            yield item


def _next(frames: Iterator[Any]) -> list[Any]:
    """The source's next word, ``None`` for "nothing yet" among them; an empty list at its end."""
    for frame in frames:
        return [frame]
    return []
