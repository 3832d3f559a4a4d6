"""How lines hang together: cut at queues into segments, joined by queues' names.

A *segment* is what one process runs: the elements between two queues. A *junction* is a place where what some elements
give is what others take: one link, or all that meet in a queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stream.element import Element, Sink, Source
from stream.elements.queue import Queue
from stream.elements.tee import Tee
from stream.errors import LinkError
from stream.registry import did_you_mean, label, properties_of


class Line:
    """Elements from left to right; ``from_queue`` names the queue (or tee) it begins with instead of a source."""

    __slots__ = ("elements", "from_queue")

    def __init__(self, *elements: Element, from_queue: str = "") -> None:
        self.elements = elements
        self.from_queue = from_queue

    def __repr__(self) -> str:
        begin = [f"from {self.from_queue}"] if self.from_queue else []
        return f"Line({' ! '.join(begin + [label(element) for element in self.elements])})"


@dataclass(eq=False)
class Segment:
    """The elements between two queues; ``inbox`` is the queue they read, ``outboxes`` those they feed."""

    elements: tuple[Element, ...]
    inbox: str | None = None
    outboxes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Junction:
    """Where everything ``producers`` give goes to every one of ``consumers``; ``name`` is its queue's."""

    producers: tuple[Element, ...]
    consumers: tuple[Element, ...]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Segments, upstream before downstream, and the queues between them by name."""

    segments: tuple[Segment, ...]
    queues: dict[str, Queue]

    def junctions(self) -> Iterator[Junction]:
        """Every place where caps have to agree; an open end is one too."""
        for segment in self.segments:
            for giver, taker in pairwise(segment.elements):
                yield Junction((giver,), (taker,))
            if not segment.outboxes and not isinstance(segment.elements[-1], Sink):
                yield Junction((segment.elements[-1],), ())
        for names in self._meeting_queues():
            givers = tuple(part.elements[-1] for part in self.segments if names & set(part.outboxes))
            takers = tuple(part.elements[0] for part in self.segments if part.inbox in names)
            yield Junction(givers, takers, "/".join(sorted(names)))

    def _meeting_queues(self) -> list[set[str]]:
        """Queue names grouped so that those fed by one segment (branches of a tee) are together."""
        groups: list[set[str]] = [{name} for name in self.queues]
        for segment in self.segments:
            touched = [group for group in groups if group & set(segment.outboxes)]
            groups = [group for group in groups if group not in touched]
            groups += [set().union(*touched)] if touched else []
        return groups


def wire(lines: Sequence[Line]) -> Wiring:
    """Cut ``lines`` at their queues and join them by name. Raises :class:`LinkError` for what is not a line."""
    for line in lines:
        _check_order(line)
    _check_each_stands_once(lines)
    names = _queue_names(lines)
    segments, tees = _cut(lines, names)
    queues = _queues(lines, names)
    _attach_branches(lines, names, queues, tees)
    _check_queues(segments, queues)
    _check_tees(segments)
    return Wiring(tuple(_upstream_first(segments)), queues)


# -- cutting ----------------------------------------------------------------------------------------------------------


def _queue_names(lines: Sequence[Line]) -> dict[int, str]:
    """The name of every queue by ``id``; a nameless one is called queue0, queue1, … as in GStreamer."""
    given = {queue.name for queue in _all_queues(lines) if queue.name}
    free = (name for count in range(10**6) if (name := f"queue{count}") not in given)
    return {id(queue): queue.name or next(free) for queue in _all_queues(lines)}


def _cut(lines: Sequence[Line], names: dict[int, str]) -> tuple[list[Segment], dict[str, Segment]]:
    """All segments, and those that end in a named tee by its name."""
    segments: list[Segment] = []
    tees: dict[str, Segment] = {}
    for line in lines:
        for segment in _segments(line, names):
            segments.append(segment)
            if isinstance(tee := segment.elements[-1], Tee) and tee.name:
                if tee.name in tees:
                    raise LinkError(f"two tees are called {tee.name!r}; give one of them another name")
                tees[tee.name] = segment
    return segments, tees


def _segments(line: Line, names: dict[int, str]) -> Iterator[Segment]:
    """The segments of one line; a branch of a tee begins with its queue and so with no segment."""
    inbox: str | None = line.from_queue or None
    waiting: list[Element] = []
    for element in line.elements:
        if not isinstance(element, Queue):
            waiting.append(element)
            continue
        if waiting:
            yield Segment(tuple(waiting), inbox, [names[id(element)]])
        inbox, waiting = names[id(element)], []
    if waiting:
        yield Segment(tuple(waiting), inbox)


def _attach_branches(
    lines: Sequence[Line], names: dict[int, str], queues: dict[str, Queue], tees: dict[str, Segment]
) -> None:
    """Let every tee feed the queues its branches begin with."""
    if both := sorted(queues.keys() & tees.keys()):
        raise LinkError(f"a queue and a tee are both called {both[0]!r}; give one of them another name")
    for line in lines:
        if line.from_queue in tees:
            tees[line.from_queue].outboxes.append(names[id(_branch_queue(line))])
        elif line.from_queue and line.from_queue not in queues:
            raise _unknown_start(line.from_queue, sorted([*queues, *tees]))
        elif line.from_queue and isinstance(line.elements[0], Queue):
            raise LinkError(f"two queues follow each other: 'from {line.from_queue}' is one already; drop the second")


def _branch_queue(line: Line) -> Queue:
    first = line.elements[0]
    if isinstance(first, Queue):
        return first
    remedy = f"write 'from {line.from_queue} ! queue ! {label(first)}'"
    raise LinkError(f"a branch of tee {line.from_queue!r} must begin with a queue, not with {label(first)}; {remedy}")


def _unknown_start(start: str, known: list[str]) -> LinkError:
    has = f"there are {', '.join(map(repr, known))}" if known else "give one a name with 'queue name=…'"
    return LinkError(f"'from {start}': no queue or tee is called {start!r}{did_you_mean(start, known) or ';'} {has}")


# -- what is refused --------------------------------------------------------------------------------------------------


def _check_order(line: Line) -> None:
    """Sources first, sinks last, and something between two queues."""
    if not line.elements:
        raise LinkError(f"the line 'from {line.from_queue}' is empty" if line.from_queue else "a line is empty")
    first, *others = line.elements
    if not line.from_queue and not isinstance(first, Source):
        raise LinkError(f"a line begins with a source or with 'from NAME', not with {label(first)}")
    for element in line.elements if line.from_queue else others:
        if isinstance(element, Source):
            raise LinkError(f"{label(element)} is a source: it can only begin a line")
    for before, after in pairwise(line.elements):
        _check_neighbours(before, after)


def _check_neighbours(before: Element, after: Element) -> None:
    match before, after:
        case Sink(), _:
            remedy = "branch before it with 'tee'"
            raise LinkError(f"{label(before)} is a sink: {label(after)} cannot follow it; {remedy}")
        case Queue(), Queue():
            raise LinkError("two queues follow each other; drop one, or put an element between them")
        case Tee(), Element() if not isinstance(after, Queue):
            remedy = f"write 'tee ! queue ! {label(after)}'"
            raise LinkError(f"what follows a tee must begin with a queue, not with {label(after)}; {remedy}")


def _check_each_stands_once(lines: Sequence[Line]) -> None:
    counts = Counter(id(element) for element in _elements(lines))
    for element in _elements(lines):
        if counts[id(element)] > 1:
            raise LinkError(f"the same {label(element)} object stands twice in the pipeline; make two")


def _queues(lines: Sequence[Line], names: dict[int, str]) -> dict[str, Queue]:
    """One queue a name: where several lines share it, the one that was given properties."""
    queues: dict[str, Queue] = {}
    for queue in _all_queues(lines):
        known = queues.setdefault(names[id(queue)], queue)
        told, told_before = (properties_of(item).keys() - {"name"} for item in (queue, known))
        if told and told_before and known != queue:
            raise LinkError(
                f"queue {queue.name!r} is given different properties in two lines; give them in one of them"
            )
        queues[names[id(queue)]] = queue if told else known
    return queues


def _check_queues(segments: Sequence[Segment], queues: dict[str, Queue]) -> None:
    """Every queue is fed and read."""
    fed = {name for segment in segments for name in segment.outboxes}
    for name, queue in queues.items():
        readers = sum(segment.inbox == name for segment in segments)
        if not readers:
            raise LinkError(f"nothing reads queue {name!r}; {_begin(queue.name, '')}")
        if name not in fed:
            raise LinkError(f"nothing feeds queue {name!r}; put a source or a stage before it")
        if queue.address and readers > 1:
            remedy = "branch with a tee, a queue for each"
            raise LinkError(f"queue {name!r} has an address, which one part can bind, but {readers} read it; {remedy}")


def _check_tees(segments: Sequence[Segment]) -> None:
    for segment in segments:
        tail = segment.elements[-1]
        if isinstance(tail, Tee) and not segment.outboxes:
            raise LinkError(f"nothing follows tee {tail.name!r}; {_begin(tail.name, 'queue ! ')}")


def _begin(name: str, then: str) -> str:
    if name:
        return f"begin a line with 'from {name} ! {then}…'"
    return f"let something follow it, or call it name=NAME and write 'from NAME ! {then}…'"


def _upstream_first(segments: Sequence[Segment]) -> list[Segment]:
    """Topological order, keeping the order of writing where it is free. Raises on a circle."""
    waiting, ready = list(segments), list[Segment]()
    while waiting:
        blocked = {name for segment in waiting for name in segment.outboxes}
        free = [segment for segment in waiting if segment.inbox not in blocked]
        if not free:
            circle = " ! ".join(label(segment.elements[0]) for segment in waiting)
            raise LinkError(f"the lines run in a circle ({circle}); a line must lead away from its source")
        ready.append(free[0])
        waiting.remove(free[0])
    return ready


def _elements(lines: Iterable[Line]) -> Iterator[Element]:
    return (element for line in lines for element in line.elements)


def _all_queues(lines: Iterable[Line]) -> list[Queue]:
    return [element for element in _elements(lines) if isinstance(element, Queue)]
