"""Cuts lines at their queues into parts, and joins the parts by the names of the queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

from engines.redaction import redact
from stream.element import Element, Sink, Source
from stream.elements.queue import Queue
from stream.elements.tee import Tee
from stream.errors import LinkError, TransportError
from stream.names import check_camera_name, check_name
from stream.registry import advise, element_name, get_properties, label


class Line:
    """Elements from left to right; ``from_queue`` names the queue (or tee) it begins with instead of a source."""

    __slots__ = ("elements", "from_queue")

    def __init__(self, *elements: Element, from_queue: str = "") -> None:
        self.elements = elements
        self.from_queue = from_queue

    def __repr__(self) -> str:
        begin = [f"from {self.from_queue}"] if self.from_queue else []
        return f"Line({' ! '.join(begin + [label(element) for element in self.elements])})"


@dataclass(frozen=True, eq=False)
class Part:
    """The elements between two queues, which one process runs.

    ``inbox`` is the queue it reads (None for a source), ``outboxes`` are those it feeds. ``cameras`` are the names of
    all cameras upstream: the part has ended when each of them has.
    """

    elements: tuple[Element, ...]
    inbox: str | None = None
    outboxes: tuple[str, ...] = ()
    name: str = ""
    cameras: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """The names and paths of the networks that it runs, each once; known after negotiation."""
        return tuple(dict.fromkeys(name for element in self.elements for name in element.networks()))

    @property
    def source(self) -> Source | None:
        """The source it begins with, if it does."""
        first = self.elements[0]
        return first if isinstance(first, Source) else None


@dataclass(frozen=True, eq=False)
class Junction:
    """All items of ``producers`` go to each of ``consumers``: a link, or all links of the queue called ``name``."""

    producers: tuple[Element, ...]
    consumers: tuple[Element, ...]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Wiring:
    """Parts, upstream before downstream, and the queues between them by name."""

    parts: tuple[Part, ...]
    queues: dict[str, Queue]

    def junctions(self) -> Iterator[Junction]:
        """Every junction, open ends included: the caps on its sides must agree."""
        for part in self.parts:
            for giver, taker in pairwise(part.elements):
                yield Junction((giver,), (taker,))
            if not part.outboxes and not isinstance(part.elements[-1], Sink):
                yield Junction((part.elements[-1],), ())
        for names in self._meeting_queues():
            givers = tuple(part.elements[-1] for part in self.parts if names & set(part.outboxes))
            takers = tuple(part.elements[0] for part in self.parts if part.inbox in names)
            yield Junction(givers, takers, "/".join(sorted(names)))

    def _meeting_queues(self) -> list[set[str]]:
        """Queue names grouped so that those fed by one part (branches of a tee) are together."""
        groups: list[set[str]] = [{name} for name in self.queues]
        for part in self.parts:
            touched = [group for group in groups if group & set(part.outboxes)]
            groups = [group for group in groups if group not in touched]
            groups += [set().union(*touched)] if touched else []
        return groups


def wire(lines: Sequence[Line]) -> Wiring:
    """Cut ``lines`` at their queues and join the parts by name.

    Raises :class:`LinkError` for invalid lines, :class:`PropertyError` for a name that cannot be one, and for a camera
    name that an element cannot take.
    """
    for line in lines:
        _check_order(line)
    _check_each_occurs_once(lines)
    for element in _elements(lines):
        if element.name:
            check_name(element.name, element_name(element))
    names = _queue_names(lines)
    queues = _merge_queues(lines, names)
    branches = _find_branches(lines, names, queues)
    parts = [part for line in lines for part in _cut(line, names, branches)]
    _check_queues(parts, queues)
    _check_tees(parts)
    _check_cameras(parts)
    wired = tuple(_add_cameras(_add_names(_sort_upstream_first(parts))))
    for part in wired:
        for element, camera in product(part.elements, part.cameras):
            element.check_camera(camera)
    return Wiring(wired, queues)


def camera_name(source: Source) -> str:
    """The name of a source's camera: its ``camera`` property, or else the name of the source."""
    return str(getattr(source, "camera", "")) or label(source)


# -- cutting ----------------------------------------------------------------------------------------------------------


def _queue_names(lines: Sequence[Line]) -> dict[int, str]:
    """The name of every queue by ``id``; a nameless one is called queue0, queue1, … as in GStreamer."""
    given = {queue.name for queue in _all_queues(lines) if queue.name}
    free = (name for count in range(10**6) if (name := f"queue{count}") not in given)
    return {id(queue): queue.name or next(free) for queue in _all_queues(lines)}


def _find_branches(
    lines: Sequence[Line], names: Mapping[int, str], queues: Mapping[str, Queue]
) -> dict[str, tuple[str, ...]]:
    """For every named tee, the queues with which its branches on lines of their own begin."""
    tees = _tee_names(lines)
    if both := sorted(queues.keys() & set(tees)):
        raise LinkError(f"a queue and a tee are both called {both[0]!r}; give one of them another name")
    branches: dict[str, tuple[str, ...]] = dict.fromkeys(tees, ())
    for line in lines:
        if line.from_queue in branches:
            branches[line.from_queue] += (names[id(_branch_queue(line))],)
        elif line.from_queue and line.from_queue not in queues:
            raise _unknown_start(line.from_queue, sorted([*queues, *tees]))
        elif line.from_queue and isinstance(line.elements[0], Queue):
            raise LinkError(f"two queues follow each other: 'from {line.from_queue}' is one already; remove the second")
    return branches


def _tee_names(lines: Sequence[Line]) -> list[str]:
    names = [element.name for element in _elements(lines) if isinstance(element, Tee) and element.name]
    for name, count in Counter(names).items():
        if count > 1:
            raise LinkError(f"two tees are called {name!r}; give one of them another name")
    return names


def _cut(line: Line, names: Mapping[int, str], branches: Mapping[str, tuple[str, ...]]) -> Iterator[Part]:
    """The parts of one line; a branch of a tee begins with its queue and so with no part."""
    inbox: str | None = line.from_queue or None
    waiting: list[Element] = []
    for element in line.elements:
        if not isinstance(element, Queue):
            waiting.append(element)
            continue
        if waiting:
            yield Part(tuple(waiting), inbox, (names[id(element)], *_branches_after(waiting[-1], branches)))
        inbox, waiting = names[id(element)], []
    if waiting:
        yield Part(tuple(waiting), inbox, _branches_after(waiting[-1], branches))


def _branches_after(element: Element, branches: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return branches.get(element.name, ()) if isinstance(element, Tee) else ()


def _branch_queue(line: Line) -> Queue:
    first = line.elements[0]
    if isinstance(first, Queue):
        return first
    remedy = f"write 'from {line.from_queue} ! queue ! {label(first)}'"
    raise LinkError(f"a branch of tee {line.from_queue!r} must begin with a queue, not with {label(first)}; {remedy}")


def _unknown_start(start: str, known: list[str]) -> LinkError:
    has = f"there are {', '.join(map(repr, known))}" if known else "give one a name with 'queue name=…'"
    return LinkError(f"'from {start}': no queue or tee is called {start!r}{advise(start, known, has)}")


# -- checks ----------------------------------------------------------------------------------------------------------


def _check_order(line: Line) -> None:
    """Sources first, sinks last, and an element between two queues."""
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
            raise LinkError("two queues follow each other; remove one, or put an element between them")
        case Tee(), Element() if not isinstance(after, Queue):
            remedy = f"write 'tee ! queue ! {label(after)}'"
            raise LinkError(f"what follows a tee must begin with a queue, not with {label(after)}; {remedy}")


def _check_each_occurs_once(lines: Sequence[Line]) -> None:
    counts = Counter(id(element) for element in _elements(lines))
    for element in _elements(lines):
        if counts[id(element)] > 1:
            raise LinkError(f"the same {label(element)} object occurs twice in the pipeline; make two")


def _merge_queues(lines: Sequence[Line], names: Mapping[int, str]) -> dict[str, Queue]:
    """One queue per name: where several lines share it, the one that has properties."""
    queues: dict[str, Queue] = {}
    for queue in _all_queues(lines):
        known = queues.setdefault(names[id(queue)], queue)
        given, given_before = (get_properties(item).keys() - {"name"} for item in (queue, known))
        if given and given_before and known != queue:
            raise LinkError(f"queue {queue.name!r} has different properties in two lines; set them in one of the two")
        queues[names[id(queue)]] = queue if given else known
    return queues


def _check_queues(parts: Sequence[Part], queues: dict[str, Queue]) -> None:
    """Every queue is fed and read."""
    fed = {name for part in parts for name in part.outboxes}
    for name, queue in queues.items():
        readers = sum(part.inbox == name for part in parts)
        if not readers:
            raise LinkError(f"nothing reads queue {name!r}; {_begin(queue.name, '')}")
        if name not in fed:
            raise LinkError(f"nothing feeds queue {name!r}; put an element before it")
        if queue.address and readers > 1:
            remedy = "branch with a tee, a queue for each"
            raise LinkError(f"queue {name!r} has an address, which one part can bind, but {readers} read it; {remedy}")
    _check_addresses({name: queue.address for name, queue in queues.items() if queue.address})


def _check_addresses(addresses: Mapping[str, str]) -> None:
    """Addresses can be bound, and found by both sides. Whether there are keys is checked where the parts run."""
    by_address: dict[Hashable, str] = {}
    for name, address in addresses.items():
        # Not imported above: most lines have no addresses, and need no ZeroMQ to be checked.
        from stream.transports.addresses import identify_address
        from stream.transports.zmq_socket import check_address

        try:
            check_address(address, f"queue {name!r}", has_keys=True)
        except TransportError as error:
            raise LinkError(str(error)) from None
        if address.startswith("inproc://") or address.endswith(":*"):
            raise LinkError(
                f"queue {name!r}: the other process cannot find {redact(address)}; write ipc://PATH or tcp://HOST:PORT"
            )
        other = by_address.setdefault(identify_address(address), name)
        if other != name:
            raise LinkError(f"queues {other!r} and {name!r} have the same address {redact(address)}; change one")


def _check_tees(parts: Sequence[Part]) -> None:
    for part in parts:
        tail = part.elements[-1]
        if isinstance(tail, Tee) and not part.outboxes:
            raise LinkError(f"nothing follows tee {tail.name!r}; {_begin(tail.name, 'queue ! ')}")


def _begin(name: str, then: str) -> str:
    if name:
        return f"begin a line with 'from {name} ! {then}…'"
    return f"put an element after it, or set name=NAME and write 'from NAME ! {then}…'"


def _check_cameras(parts: Sequence[Part]) -> None:
    """Camera names are unique: they are the first half of every key."""
    seen: dict[str, str] = {}
    for source in (part.source for part in parts if part.source is not None):
        camera = camera_name(source)
        check_camera_name(camera, label(source))
        if redact(camera) != camera:
            raise LinkError(
                f"camera {camera!r} holds a password, and its name is published; call it otherwise: camera=hall"
            )
        if camera in seen:
            both = f"{seen[camera]} and {label(source)}"
            raise LinkError(f"two cameras are called {camera!r} ({both}); give each its own, as in camera=hall")
        seen[camera] = label(source)


# -- order and names --------------------------------------------------------------------------------------------------


def _sort_upstream_first(parts: Sequence[Part]) -> list[Part]:
    """Topological order, stable where it is not determined. Raises :class:`LinkError` for a cycle."""
    waiting, ready = list(parts), list[Part]()
    while waiting:
        blocked = {name for part in waiting for name in part.outboxes}
        free = [part for part in waiting if part.inbox not in blocked]
        if not free:
            circle = " ! ".join(label(part.elements[0]) for part in waiting)
            raise LinkError(f"the lines form a cycle ({circle}); a line must lead away from its source")
        ready.append(free[0])
        waiting.remove(free[0])
    return ready


def _add_names(parts: Sequence[Part]) -> list[Part]:
    """Each part has the name of its first element: ``detect``, ``detect2``, ``detect3`` where several would be."""
    labels = [label(part.elements[0]) for part in parts]
    taken: list[str] = []
    for name in labels:
        others = (f"{name}{count}" for count in range(2, len(labels) + 2))
        reserved = {*taken, *labels}
        taken.append(name if name not in taken else next(other for other in others if other not in reserved))
    return [replace(part, name=name) for part, name in zip(parts, taken, strict=True)]


def _add_cameras(parts: Sequence[Part]) -> list[Part]:
    """Each part with the cameras whose frames reach it; ``parts`` come upstream first."""
    found: list[Part] = []
    for part in parts:
        own = [camera_name(part.source)] if part.source is not None else []
        fed_by = [camera for other in found if part.inbox in other.outboxes for camera in other.cameras]
        found.append(replace(part, cameras=tuple(dict.fromkeys([*own, *fed_by]))))
    return found


def _elements(lines: Iterable[Line]) -> Iterator[Element]:
    return (element for line in lines for element in line.elements)


def _all_queues(lines: Iterable[Line]) -> list[Queue]:
    return [element for element in _elements(lines) if isinstance(element, Queue)]
