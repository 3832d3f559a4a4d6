"""A pipeline: lines of elements, linked, negotiated, and split at their queues into parts.

>>> from stream.pipeline.launch import parse_launch
>>> pipeline = parse_launch("testsrc num_frames=2 ! queue ! fakesink")
>>> [part.name for part in pipeline.parts]
['testsrc', 'fakesink']
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stream.caps import Caps
from stream.element import Element, Source
from stream.elements.queue import Queue
from stream.errors import LinkError
from stream.pipeline.executor import run_in_process
from stream.pipeline.negotiation import Agreement, negotiate, tell
from stream.pipeline.serialize import same_lines, spell_launch, spell_yaml
from stream.pipeline.wiring import Junction, Line, Part, Wiring, camera_name, wire
from stream.registry import label, validate
from stream.transports.base import Leaky

QueueName = str


@dataclass(frozen=True)
class Link:
    """What flows from one element to the next; ``queue`` is the one between them, if any. ``str()`` is the caps."""

    upstream: str
    downstream: str
    caps: Caps
    queue: QueueName = ""

    def __str__(self) -> str:
        return str(self.caps)


@dataclass(frozen=True)
class QueueSpec:
    """A queue as a transport needs it: ``leaky`` resolved, and the names of the parts on either side."""

    name: QueueName
    leaky: Leaky
    max_items: int
    address: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


class Pipeline:
    """Elements from left to right, or several :class:`Line` that share named queues.

    ``in_flight`` is how many frames of one camera may be on their way at once; None computes it: every frame that a
    window holds, two for each part, and two more. Raises :class:`PropertyError` for a value that an element cannot
    take; :class:`LinkError` comes when the caps are negotiated, which the first question about them does.
    """

    def __init__(self, *elements: Element | Line, in_flight: int | None = None) -> None:
        lines = tuple(element for element in elements if isinstance(element, Line))
        chain = tuple(element for element in elements if isinstance(element, Element))
        if (lines and chain) or not elements:
            raise LinkError("a Pipeline is made of elements, or of Line objects, not of both and not of nothing")
        if in_flight is not None and in_flight < 1:
            raise LinkError(f"in_flight={in_flight} lets no frame through; give at least 1, or leave it away")
        self.lines = lines or (Line(*chain),)
        self._in_flight = in_flight
        for line in self.lines:
            for element in line.elements:
                validate(element)

    # -- what was agreed ----------------------------------------------------------------------------------------------

    def negotiate(self) -> tuple[Link, ...]:
        """Link everything and agree on caps; done once. Raises :class:`LinkError`."""
        return self.links

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Every link and its caps, upstream first; an open end leads to nothing and is not one."""
        order = {id(element): place for place, element in enumerate(self._elements)}
        pairs = zip(self._junctions, self._agreement.caps, strict=True)
        found = [link for junction, caps in pairs for link in _links(junction, caps)]
        return tuple(link for *_, link in sorted(found, key=lambda at: (order[at[0]], order[at[1]])))

    @cached_property
    def _wiring(self) -> Wiring:
        return wire(self.lines)

    @property
    def _elements(self) -> list[Element]:
        """All elements but the queues, upstream first."""
        return [element for part in self._wiring.parts for element in part.elements]

    @cached_property
    def _junctions(self) -> tuple[Junction, ...]:
        return tuple(self._wiring.junctions())

    @cached_property
    def _agreement(self) -> Agreement:
        agreement = negotiate(self._junctions, self._elements)
        tell(self._elements, agreement)
        return agreement

    def get_caps(self, element: Element) -> tuple[Caps | None, Caps | None]:
        """The negotiated caps of an element's two pads: what it takes and what it gives."""
        return self._agreement.sinks.get(id(element)), self._agreement.srcs.get(id(element))

    # -- parts --------------------------------------------------------------------------------------------------------

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What runs in a process each, upstream first; the caps of their elements are agreed on."""
        _ = self._agreement
        return self._wiring.parts

    def part(self, name: str) -> Part:
        """The part called ``name``. Raises :class:`LinkError` with those there are."""
        for part in self.parts:
            if part.name == name:
                return part
        raise LinkError(f"no part {name!r}; this line has {', '.join(part.name for part in self.parts)}")

    @cached_property
    def queues(self) -> dict[QueueName, QueueSpec]:
        """Every queue between two parts, by name."""
        return {name: self._spec(name, queue) for name, queue in self._wiring.queues.items()}

    def _spec(self, name: str, queue: Queue) -> QueueSpec:
        producers = [part for part in self.parts if name in part.outboxes]
        consumers = [part for part in self.parts if part.inbox == name]
        cameras = {camera for part in producers for camera in part.cameras}
        return QueueSpec(
            name,
            _leaky(queue, self.find_sources(cameras)),
            queue.max_items,
            queue.address,
            tuple(part.name for part in producers),
            tuple(part.name for part in consumers),
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where its frames come from, in order of writing."""
        return tuple(line.elements[0] for line in self.lines if line.elements and isinstance(line.elements[0], Source))

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of all its cameras."""
        return tuple(camera_name(source) for source in self.sources)

    def find_sources(self, cameras: Collection[str]) -> tuple[Source, ...]:
        """The sources whose cameras are called so."""
        return tuple(source for source in self.sources if camera_name(source) in cameras)

    @property
    def open_ends(self) -> tuple[str, ...]:
        """The elements whose output nobody takes: ``run()`` yields it, processes throw it away."""
        return tuple(label(place.producers[0]) for place in self._junctions if not place.consumers)

    @property
    def in_flight(self) -> int:
        """How many frames of one camera may be in the line at once: as given, else computed."""
        return self._in_flight or self._needed_in_flight

    @property
    def requested_in_flight(self) -> int | None:
        """``in_flight`` as it was given; None where it is left to be computed."""
        return self._in_flight

    @property
    def _needed_in_flight(self) -> int:
        return sum(self._held_by(element) for element in self._elements) + 2 * len(self.parts) + 2

    def _held_by(self, element: Element) -> int:
        """The frames an element keeps from being finished: a window's, or those it could not be restarted without."""
        sink, src = self.get_caps(element)
        if src is None or "future" not in src.fields or (sink is not None and "future" in sink.fields):
            return element.reach
        return src.get("past") + 1 + src.get("future")

    # -- running in one process ---------------------------------------------------------------------------------------

    def run(self) -> Iterator[Any]:
        """Run all lines in this process; yields whatever reaches an end that is not a sink.

        Sources take turns, a frame each. Nothing is dropped, no queue leaks, and an exception in an element is the
        caller's: this is the line for tests, debugging and files. The results are those of the processes.
        """
        return run_in_process(self.parts)

    # -- spellings ----------------------------------------------------------------------------------------------------

    def with_lines(self, *lines: Line) -> Pipeline:
        """A pipeline of other lines, with the same limit of what is in flight."""
        return Pipeline(*lines, in_flight=self._in_flight)

    def to_yaml(self) -> str:
        """YAML that ``parse_yaml`` reads as an equal pipeline."""
        return spell_yaml(self.lines, self._in_flight)

    def __str__(self) -> str:
        return spell_launch(self.lines)

    def __repr__(self) -> str:
        return f"<Pipeline {str(self)!r}>"

    def __eq__(self, other: object) -> bool:
        """Equal when they say the same: elements, properties, names, lines and ``in_flight``."""
        if not isinstance(other, Pipeline):
            return NotImplemented
        return self._in_flight == other._in_flight and same_lines(self.lines, other.lines)

    __hash__ = None  # type: ignore[assignment]  # elements may still be changed


def _links(junction: Junction, caps: Caps) -> Iterator[tuple[int, int, Link]]:
    """The links of a junction, each with the ``id`` of its two elements."""
    for giver in junction.producers:
        for taker in junction.consumers:
            yield id(giver), id(taker), Link(label(giver), label(taker), caps, junction.name)


def _leaky(queue: Queue, sources: tuple[Source, ...]) -> Leaky:
    if queue.leaky != "auto":
        return queue.leaky
    return "downstream" if any(source.is_live for source in sources) else "no"
