"""Pipelines: lines of elements, linked, negotiated, and split at their queues into parts.

>>> from stream.pipeline.launch import parse_launch
>>> pipeline = parse_launch("testsrc num_frames=2 ! queue ! fakesink")
>>> [part.name for part in pipeline.parts]
['testsrc', 'fakesink']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engines.hub.fetching import fetch_missing
from stream.caps import Caps
from stream.element import Element, Source
from stream.elements.queue import Queue
from stream.errors import LinkError
from stream.logs import is_quiet
from stream.pipeline.executor import run_in_process
from stream.pipeline.negotiation import Agreement, negotiate, set_caps
from stream.pipeline.outputs import check_outputs
from stream.pipeline.serialize import are_equal, to_launch_string, to_yaml
from stream.pipeline.wiring import Junction, Line, Part, Wiring, camera_name, wire
from stream.registry import error_context, label, validate
from stream.transports.base import Leaky

QueueName = str


@dataclass(frozen=True)
class Link:
    """A link between two elements; ``queue`` is the one between them, if any. ``str()`` is the caps."""

    upstream: str
    downstream: str
    caps: Caps
    queue: QueueName = ""

    def __str__(self) -> str:
        return str(self.caps)


@dataclass(frozen=True)
class QueueSpec:
    """A queue for a transport: ``leaky`` is resolved, and the parts on both sides are named."""

    name: QueueName
    leaky: Leaky
    max_items: int
    address: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


class Pipeline:
    """Elements from left to right, or several :class:`Line` that share named queues.

    ``in_flight`` is the most frames of one camera that are in the pipeline at once; by default, of the parts that its
    frames go through, those that windows hold, two for each, and two more. A process reads up to
    ``sources_per_process`` cameras (:attr:`shared_parts`). Raises :class:`PropertyError` for a wrong value of an
    element; wrong links raise :class:`LinkError` when caps are first negotiated, as :meth:`negotiate`, :attr:`links`
    and :meth:`run` do.
    """

    def __init__(self, *elements: Element | Line, in_flight: int | None = None, sources_per_process: int = 1) -> None:
        lines = tuple(element for element in elements if isinstance(element, Line))
        chain = tuple(element for element in elements if isinstance(element, Element))
        if (lines and chain) or not elements:
            raise LinkError("a Pipeline takes elements or Line objects: at least one, and not both kinds")
        if in_flight is not None and in_flight < 1:
            raise LinkError(f"in_flight={in_flight} lets no frame through; give at least 1, or omit it")
        if sources_per_process < 1:
            raise LinkError(f"sources_per_process={sources_per_process} lets no process read a camera; give at least 1")
        self.lines = lines or (Line(*chain),)
        self._in_flight = in_flight
        self.sources_per_process = sources_per_process
        for line in self.lines:
            for element in line.elements:
                validate(element)

    # -- negotiation --------------------------------------------------------------------------------------------------

    def negotiate(self) -> tuple[Link, ...]:
        """Link all elements and negotiate their caps, once. Raises :class:`LinkError`."""
        return self.links

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Every link and its caps, upstream first; an open end is not a link."""
        order = {id(element): place for place, element in enumerate(self._elements)}
        pairs = zip(self._junctions, self._agreement.caps, strict=True)
        found = [link for junction, caps in pairs for link in _list_links(junction, caps)]
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
        for part in self._wiring.parts:
            for element in part.elements:
                element.set_sources(self.find_sources(part.cameras))
        agreement = negotiate(self._junctions, self._elements)
        set_caps(self._elements, agreement)
        return agreement

    def get_caps(self, element: Element) -> tuple[Caps | None, Caps | None]:
        """The negotiated caps of an element's input and output; None where there is none."""
        return self._agreement.sinks.get(id(element)), self._agreement.srcs.get(id(element))

    # -- parts --------------------------------------------------------------------------------------------------------

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts, each of which runs in its own process, upstream first; their caps are negotiated."""
        _ = self._agreement
        return self._wiring.parts

    def part(self, name: str) -> Part:
        """The part called ``name``. Raises :class:`LinkError` that lists all parts."""
        for part in self.parts:
            if part.name == name:
                return part
        raise LinkError(f"no part {name!r}; this line has {', '.join(part.name for part in self.parts)}")

    @cached_property
    def shared_parts(self) -> frozenset[str]:
        """The names of the parts that share processes, where ``sources_per_process`` is 2 or more: each is a live
        source, and what follows it up to a queue without a network.

        Raises :class:`LinkError` if there is none.
        """
        if self.sources_per_process == 1:
            return frozenset()
        names = frozenset(part.name for part in self.parts if _can_share(part))
        if not names:
            raise LinkError(
                f"sources_per_process={self.sources_per_process} concerns no part of this line; put a queue after each "
                "live source, before any network"
            )
        return names

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
            _resolve_leaky(queue, self.find_sources(cameras)),
            queue.max_items,
            queue.address,
            tuple(part.name for part in producers),
            tuple(part.name for part in consumers),
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, in the order of the lines."""
        return tuple(line.elements[0] for line in self.lines if line.elements and isinstance(line.elements[0], Source))

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of all cameras."""
        return tuple(camera_name(source) for source in self.sources)

    def find_sources(self, cameras: Collection[str]) -> tuple[Source, ...]:
        """The sources of these cameras."""
        return tuple(source for source in self.sources if camera_name(source) in cameras)

    @property
    def open_ends(self) -> tuple[str, ...]:
        """The elements at the end of a line that are no sinks: ``run()`` yields their output, processes discard it."""
        return tuple(label(place.producers[0]) for place in self._junctions if not place.consumers)

    @property
    def in_flight(self) -> int:
        """The most frames of one camera that are in the pipeline at once: as requested, else computed."""
        return self._in_flight or self._needed_in_flight

    @property
    def requested_in_flight(self) -> int | None:
        """``in_flight`` as requested; None where it is computed."""
        return self._in_flight

    @property
    def _needed_in_flight(self) -> int:
        by_camera = ([part for part in self.parts if camera in part.cameras] for camera in self.cameras)
        return max(map(self._count_needed, by_camera), default=0) + 2

    def _count_needed(self, parts: Collection[Part]) -> int:
        return sum(2 + sum(map(self._held_by, part.elements)) for part in parts)

    def _held_by(self, element: Element) -> int:
        """The frames that an element holds: those of a window, or those that a restart has to send again."""
        sink, src = self.get_caps(element)
        if src is None or "future" not in src.fields or (sink is not None and "future" in sink.fields):
            return element.reach
        return src.get("past") + 1 + src.get("future")

    @property
    def networks(self) -> tuple[str, ...]:
        """The names and paths of the networks that the line runs, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.networks))

    def check(self) -> None:
        """Raise :class:`PosestreamError` for what keeps an element from running on this machine, such as a missing
        network, and :class:`LinkError` for an output that two sinks write or a source reads. Negotiates, and opens
        nothing."""
        check_outputs(self.parts, {name: queue.address for name, queue in self._wiring.queues.items()})
        _ = self.shared_parts
        for part in self.parts:
            sources = self.find_sources(part.cameras)
            for element in part.elements:
                with error_context(element):
                    element.check(sources)

    # -- running in one process ---------------------------------------------------------------------------------------

    def run(self) -> Iterator[Any]:
        """Run all lines in this process; yields the items that leave an open end.

        Sources take turns, one frame each or, of files, a few. Nothing is dropped, queues do not leak, and what an
        element raises is raised here: use it for tests, debugging and files. The results equal those of a run in
        processes.
        """
        check_outputs(self.parts, {name: queue.address for name, queue in self._wiring.queues.items()})
        fetch_missing(self.networks, quiet=is_quiet())
        return run_in_process(self.parts)

    # -- spellings ----------------------------------------------------------------------------------------------------

    def with_lines(self, *lines: Line) -> Pipeline:
        """A pipeline of other lines with the same ``in_flight`` and ``sources_per_process``."""
        return Pipeline(*lines, in_flight=self._in_flight, sources_per_process=self.sources_per_process)

    def with_elements(self, change: Callable[[Element], Element]) -> Pipeline:
        """A pipeline in which every element is replaced by ``change`` of it; the lines are the same."""
        lines = (Line(*map(change, line.elements), from_queue=line.from_queue) for line in self.lines)
        return self.with_lines(*lines)

    def to_yaml(self, *, reveal: bool = False) -> str:
        """YAML that ``parse_yaml`` reads as an equal pipeline; passwords in it are ``***``, except with ``reveal``."""
        options = {"in_flight": self._in_flight} if self._in_flight is not None else {}
        options |= {"sources_per_process": self.sources_per_process} if self.sources_per_process > 1 else {}
        return to_yaml(self.lines, options, reveal=reveal)

    def __str__(self) -> str:
        return to_launch_string(self.lines)

    def __repr__(self) -> str:
        return f"<Pipeline {str(self)!r}>"

    def __eq__(self, other: object) -> bool:
        """Equal elements, properties, names, lines, ``in_flight`` and ``sources_per_process``."""
        if not isinstance(other, Pipeline):
            return NotImplemented
        ones, others = ((each._in_flight, each.sources_per_process) for each in (self, other))
        return ones == others and are_equal(self.lines, other.lines)

    __hash__ = None  # type: ignore[assignment]  # elements may still be changed


def _list_links(junction: Junction, caps: Caps) -> Iterator[tuple[int, int, Link]]:
    """The links of a junction, each with the ``id`` of both elements."""
    for giver in junction.producers:
        for taker in junction.consumers:
            yield id(giver), id(taker), Link(label(giver), label(taker), caps, junction.name)


def _can_share(part: Part) -> bool:
    """Networks have processes of their own: what they need is no less for several in one process."""
    return part.source is not None and part.source.is_live and bool(part.outboxes) and not part.networks


def _resolve_leaky(queue: Queue, sources: tuple[Source, ...]) -> Leaky:
    if queue.leaky != "auto":
        return queue.leaky
    return "downstream" if any(source.is_live for source in sources) else "no"
