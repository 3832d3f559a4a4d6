"""Several lines in one process: sources take turns, items and ends of streams run down to every end.

The order is the one a line of processes keeps for each camera: an item goes all the way before the next one starts, and
a camera's end follows its last item through every element, which flushes what it held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from stream.element import Element, Sink, Source, Transform
from stream.messages import Eos


@dataclass(frozen=True, eq=False)
class Stage:
    """Elements between two queues, the queue they read and those they feed, and the cameras upstream of them."""

    elements: tuple[Element, ...]
    inbox: str | None
    outboxes: tuple[str, ...]
    cameras: tuple[str, ...]


def run_in_process(stages: Sequence[Stage]) -> Iterator[Any]:
    """Run ``stages``, upstream first, to the end of every source; yields what leaves them and no stage reads."""
    with ExitStack() as opened:
        for element in (element for stage in stages for element in stage.elements):
            opened.enter_context(element)
        yield from _Run(stages).items()


class _Run:
    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._ended: dict[int, set[str]] = {id(stage): set() for stage in stages}

    def items(self) -> Iterator[Any]:
        """Poll the sources in turn until all have ended."""
        running = [
            (stage, stage.elements[0].frames()) for stage in self._stages if isinstance(stage.elements[0], Source)
        ]
        while running:
            for stage, frames in tuple(running):
                for frame in _next(frames):
                    yield from self._down(stage, 1, frame)
                    break
                else:
                    running.remove((stage, frames))
                    for camera in stage.cameras:
                        yield from self._down(stage, 1, Eos(camera))

    def _down(self, stage: Stage, index: int, item: Any) -> Iterator[Any]:
        """Give ``item`` to ``stage.elements[index]`` and what that leads to, onwards to every end."""
        if item is None:
            return
        if index == len(stage.elements):
            yield from self._out(stage, item)
            return
        for result in self._through(stage, stage.elements[index], item):
            yield from self._down(stage, index + 1, result)

    def _through(self, stage: Stage, element: Element, item: Any) -> Iterator[Any]:
        match element, item:
            case Transform(), Eos(camera):
                yield from element.flush(camera)
                yield item
            case Transform(), _:
                yield from element.process(item)
            case Sink(), Eos(camera):
                self._end(stage, element, camera)
            case Sink(), _:
                element.consume(item)

    def _end(self, stage: Stage, sink: Sink, camera: str) -> None:
        """A sink is told of each end, and flushed once, when all its cameras have ended."""
        sink.ended(camera)
        ended = self._ended[id(stage)]
        ended.add(camera)
        if ended == set(stage.cameras):
            sink.flush()

    def _out(self, stage: Stage, item: Any) -> Iterator[Any]:
        for reader in (other for other in self._stages if other.inbox in stage.outboxes and other.inbox is not None):
            yield from self._down(reader, 0, item)
        if not stage.outboxes and not isinstance(item, Eos):
            yield item


def _next(frames: Iterator[Any]) -> list[Any]:
    """The source's next word, ``None`` for "nothing yet" among them; an empty list at its end."""
    for frame in frames:
        return [frame]
    return []
