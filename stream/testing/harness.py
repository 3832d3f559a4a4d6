"""A harness that runs elements as a black box: push, pull, and a clock that you set; no sockets, no processes.

>>> from stream.testing import Harness, make_people
>>> box = Harness("window", src="people/window, past=1, future=1")
>>> [[frame.seq for frame in window.frames] for window in box.push_all(make_people(seq) for seq in range(3))]
[[0, 0, 1], [0, 1, 2], [1, 2, 2]]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from engines.resource import Resource
from stream.caps import Caps
from stream.element import Context, Element, Sink, Source
from stream.errors import LaunchError
from stream.messages import Message
from stream.pipeline.executor import Executor
from stream.pipeline.launch import parse_lines
from stream.pipeline.negotiation import negotiate, set_caps
from stream.pipeline.wiring import Junction
from stream.registry import label


@dataclass
class Clock:
    """A wall clock that moves by :meth:`advance` only; ``clock()`` stands in for ``time.time_ns()``."""

    time_ns: int = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.time_ns

    def advance(self, milliseconds: float) -> None:
        """Advance the clock."""
        self.time_ns += round(milliseconds * 1e6)


class Harness(Resource):
    """Elements one after another, from a launch string (which need not begin with a source), an element, or several.

    ``sink`` and ``src`` are the caps of the pushed items and of the results, where the elements leave them open;
    a clash raises :class:`LinkError` as in a pipeline. The first push or pull opens the elements; :meth:`close`,
    :meth:`push_all` and the end of a ``with`` block close them.
    """

    def __init__(
        self,
        elements: str | Element | Iterable[Element],
        *,
        sink: str | Caps | None = None,
        src: str | Caps | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self.elements = _elements(elements)
        self.clock = now_ns or Clock()
        self._waiting: deque[Any] = deque()
        self._executor = Executor(self.elements)
        self._is_open = False
        self._frames: Iterator[Any] | None = None
        self._negotiate(_caps(sink), _caps(src))
        for element in self.elements:
            element.context = Context(name=label(element), now_ns=self.clock)

    @property
    def element(self) -> Any:
        """The only element, or the first of several."""
        return self.elements[0]

    @property
    def caps(self) -> tuple[Caps, ...]:
        """The caps of every link, those of both open ends included."""
        return self._agreed

    def push(self, item: Message) -> list[Any]:
        """The outputs for ``item``, in order."""
        if isinstance(self.elements[0], Source):
            raise TypeError(f"{label(self.elements[0])} is a source; pull from it instead of pushing")
        self.open()
        return self._executor.process([item])

    def push_all(self, items: Iterable[Message]) -> list[Any]:
        """The outputs for all ``items`` and the end of the stream; closes the elements."""
        results = [result for item in items for result in self.push(item)]
        results += self.flush()
        self.close()
        return results

    def pull(self) -> Any:
        """The next output of the source and the elements after it; None at the end. Skips a ``None`` of the source."""
        self.open()
        while not self._waiting and (frame := next(self._source_frames(), _END)) is not _END:
            self._waiting.extend(() if frame is None else self._executor.process([frame]))
        return self._waiting.popleft() if self._waiting else None

    def pull_all(self, max_items: int | None = None) -> list[Any]:
        """All outputs, or the first ``max_items``; at the end of the stream, flushes and closes the elements."""
        results: list[Any] = []
        while (max_items is None or len(results) < max_items) and (item := self.pull()) is not None:
            results.append(item)
        if max_items is None:
            results += self.flush()
            self.close()
        return results

    def flush(self, camera: str | None = None) -> list[Any]:
        """The outputs at the end of the stream of ``camera``, or of all cameras."""
        self.open()
        results = self._executor.flush(camera)
        if camera is None:
            self._executor.finish()
        return results

    def open(self) -> None:
        """Open all elements; idempotent."""
        if not self._is_open:
            self._executor.open()
            self._is_open = True

    def close(self) -> None:
        """Close all elements; the next push opens them again."""
        self._is_open, self._frames = False, None
        self._executor.close()

    def _source_frames(self) -> Iterator[Any]:
        if not isinstance(self.elements[0], Source):
            raise TypeError(f"{label(self.elements[0])} is not a source; push items instead")
        if self._frames is None:
            self._frames = self._executor.frames()
        return self._frames

    def _negotiate(self, sink: Caps | None, src: Caps | None) -> None:
        chain = self.elements
        if isinstance(chain[0], Source):
            for element in chain[1:]:
                element.set_sources([chain[0]])
        inside = [Junction((giver,), (taker,)) for giver, taker in pairwise(chain)]
        begin = [] if isinstance(chain[0], Source) else [Junction((), chain[:1])]
        end = [] if isinstance(chain[-1], Sink) else [Junction(chain[-1:], ())]
        pushed = {id(chain[0]): sink} if sink else {}
        pulled = {id(chain[-1]): src} if src else {}
        agreement = negotiate([*begin, *inside, *end], chain, pushed=pushed, pulled=pulled)
        set_caps(chain, agreement)
        self._agreed = agreement.caps


_END = object()


def _elements(given: str | Element | Iterable[Element]) -> tuple[Element, ...]:
    if isinstance(given, Element):
        return (given,)
    if not isinstance(given, str):
        return tuple(given)
    lines = parse_lines(given)
    if len(lines) != 1 or lines[0].from_queue:
        raise LaunchError(f"a harness takes one line without 'from', not {given!r}")
    return lines[0].elements


def _caps(given: str | Caps | None) -> Caps | None:
    return Caps.parse(given) if isinstance(given, str) else given
