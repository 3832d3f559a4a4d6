"""Negotiation of caps: each field is fixed by one element and holds for all elements that it reaches.

Caps are propagated in both directions until nothing changes: down from outputs, up from inputs. An element whose input
and output have the same media type passes on the fields that it leaves open, so that ``pose`` fixes ``window`` across
the elements between them. Each fact stores its origin, so that an error names the two elements that disagree rather
than their neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stream.caps import ANY, MEDIA, OR, Caps, CapsValue
from stream.element import Element
from stream.errors import LinkError
from stream.pipeline.wiring import Junction
from stream.registry import error_context, label

_MEDIA_TYPE = "media type"
_CONVERTERS = ("detect", "window", "pose")
"""The element that converts each media type to the next one of ``MEDIA``; suggested in errors."""


@dataclass(frozen=True)
class Fact:
    """One field of the caps of a junction, the element it comes from, and whether that is a producer or a consumer."""

    value: CapsValue
    origin: str
    is_given: bool


@dataclass(eq=False)
class _Node:
    """A junction and the facts about its caps so far."""

    junction: Junction
    facts: dict[str, Fact] = field(default_factory=dict)

    @property
    def caps(self) -> Caps:
        fields = {name: fact.value for name, fact in self.facts.items() if name != _MEDIA_TYPE}
        media = self.facts.get(_MEDIA_TYPE)
        return Caps(str(media.value) if media else ANY, fields)

    def add_caps(self, caps: Caps, origin: str, *, is_given: bool) -> None:
        for name, value in _entries(caps).items():
            self.add_fact(name, Fact(value, origin, is_given))
        known = self.facts.get(_MEDIA_TYPE)
        if known and caps.clash(Caps(str(known.value))):
            raise LinkError(_clash(self.junction, _MEDIA_TYPE, known, Fact(caps.media, origin, is_given)))

    def add_fact(self, name: str, fact: Fact) -> None:
        known = self.facts.setdefault(name, fact)
        if known.value != fact.value:
            raise LinkError(_clash(self.junction, name, known, fact))


@dataclass(frozen=True)
class Agreement:
    """The result: the caps of each junction, and of each element's input and output (by ``id``)."""

    caps: tuple[Caps, ...]
    sinks: Mapping[int, Caps]
    srcs: Mapping[int, Caps]


def negotiate(
    junctions: Sequence[Junction],
    elements: Sequence[Element],
    *,
    pushed: Mapping[int, Caps] | None = None,
    pulled: Mapping[int, Caps] | None = None,
) -> Agreement:
    """Find the caps of every junction between ``elements`` (upstream first). Raises :class:`LinkError`.

    ``pushed`` and ``pulled`` are caps fixed from outside, by the ``id`` of the element that takes or gives them: those
    of the items that a test harness pushes and pulls.
    """
    nodes = [_Node(junction) for junction in junctions]
    takes = {id(element): node for node in nodes for element in node.junction.consumers}
    gives = {id(element): node for node in nodes for element in node.junction.producers}
    for where, caps, is_given in [(takes, pushed, True), (gives, pulled, False)]:
        for identity, fixed in (caps or {}).items():
            where[identity].add_caps(fixed, "the harness", is_given=is_given)
    _propagate(elements, takes, gives)
    for element in elements:
        if node := gives.get(id(element)):
            node.add_caps(element.fixate_caps(node.caps), label(element), is_given=True)
            _propagate(elements, takes, gives)
    return Agreement(
        tuple(node.caps for node in nodes),
        {identity: node.caps for identity, node in takes.items()},
        {identity: node.caps for identity, node in gives.items()},
    )


def set_caps(elements: Sequence[Element], agreement: Agreement) -> None:
    """Set the negotiated caps on every element."""
    for element in elements:
        with error_context(element):
            element.set_caps(agreement.sinks.get(id(element)), agreement.srcs.get(id(element)))


def _propagate(elements: Sequence[Element], takes: Mapping[int, _Node], gives: Mapping[int, _Node]) -> None:
    """Propagate caps until a round adds no fact; facts are finitely many, so it ends."""
    known = -1
    while known != (known := sum(len(node.facts) for node in {*takes.values(), *gives.values()})):
        for element in elements:
            _propagate_through(element, takes.get(id(element)), gives.get(id(element)))


def _propagate_through(element: Element, sink: _Node | None, src: _Node | None) -> None:
    """Add the caps of one element to the junctions on its two sides."""
    with error_context(element):
        accepted = element.sink_caps()
        if sink and accepted:
            sink.add_caps(accepted, label(element), is_given=False)
        offered = element.src_caps(sink.caps if sink else None)
    if sink and src and accepted and offered and keeps_media_type(element):
        own = _entries(accepted) if _is_open(type(element).src) else _entries(accepted) | _entries(offered)
        _copy(sink, src, excluding=own)
        _copy(src, sink, excluding=own)
    if src and offered:
        src.add_caps(offered, label(element), is_given=True)


def keeps_media_type(element: Element) -> bool:
    """Whether the templates of input and output have the same media type."""
    sink, src = type(element).sink, type(element).src
    return sink is not None and src is not None and sink.media == src.media


def _is_open(template: Caps | None) -> bool:
    return template is not None and not template.is_settled


def _copy(here: _Node, there: _Node, *, excluding: Collection[str]) -> None:
    """Copy the facts from ``here``, except those of the element's own fields."""
    for name, fact in list(here.facts.items()):
        if name not in excluding:
            there.add_fact(name, fact)


def _entries(caps: Caps) -> dict[str, CapsValue]:
    media: dict[str, CapsValue] = {_MEDIA_TYPE: caps.media} if caps.is_settled else {}
    return media | dict(caps.fields)


# -- errors -----------------------------------------------------------------------------------------------------------


def _clash(junction: Junction, name: str, known: Fact, new: Fact) -> str:
    if known.is_given == new.is_given:
        return _rivals(junction, name, known, new)
    giver, taker = (known, new) if known.is_given else (new, known)
    why = f"{_format(name, giver.value)} is not {_format(name, taker.value, short=True)}"
    return f"could not link {giver.origin} to {taker.origin}: {why}; {_remedy(name, giver, taker)}"


def _rivals(junction: Junction, name: str, one: Fact, other: Fact) -> str:
    """Two producers of one queue, or two consumers of one producer, that disagree."""
    where = f" queue {junction.name!r}" if junction.name else " one element"
    verb = "both feed" if one.is_given else "both read"
    facts = ", ".join(f"{fact.origin} {_describe(name, fact)}" for fact in (one, other))
    its_own = "" if one.is_given or name == _MEDIA_TYPE else f" '{_find_fixer(name)}'"
    return f"{one.origin} and {other.origin} cannot {verb}{where}: {facts}; give each its own{its_own}"


def _describe(name: str, fact: Fact) -> str:
    if name == _MEDIA_TYPE:
        return f"{'gives' if fact.is_given else 'takes'} {fact.value!r}"
    return f"{name}={fact.value}"


def _format(name: str, value: CapsValue, *, short: bool = False) -> str:
    if name == _MEDIA_TYPE:
        types = " or ".join(map(repr, str(value).split(OR)))
        return types if short else f"{name} {types}"
    return f"{name}={value}"


def _find_fixer(name: str) -> str:
    return "window" if name in ("past", "future") else "element upstream"


def _remedy(name: str, giver: Fact, taker: Fact) -> str:
    if name != _MEDIA_TYPE:
        return f"remove {name}= from {giver.origin}, and {taker.origin} fixes it"
    start, end = (str(fact.value).split(OR)[0] for fact in (giver, taker))
    if start not in MEDIA or end not in MEDIA:
        return f"put an element between them that converts {start!r} to {end!r}"
    if route := _route(start, end):
        return f"put '{route}' between them"
    return f"{taker.origin} belongs before {giver.origin}, or is not needed"


def _route(start: str, end: str) -> str:
    """The elements that lead from one media type to a later one: ``detect ! window``."""
    return " ! ".join(_CONVERTERS[MEDIA.index(start) : MEDIA.index(end)])
