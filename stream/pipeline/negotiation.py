"""Negotiation: downstream suggests, upstream decides, and what one of them fixes nobody writes twice.

Caps travel both ways until nothing changes: down from what elements give, up from what they take. An element whose two
pads carry the same media type lets the fields it leaves open through, so that ``pose`` fixes ``window`` across whatever
stands between them. Each fact remembers who said it first: a clash names the two who disagree, not their neighbours.
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
_STAGES = ("detect", "window", "pose")
"""The element that leads from each media type to the next one of ``MEDIA``; named in remedies."""


@dataclass(frozen=True)
class Fact:
    """One field of the caps of a junction, who said it, and whether that one gives (or takes)."""

    value: CapsValue
    origin: str
    gives: bool


@dataclass(eq=False)
class _Place:
    """A junction and what is known of its caps so far."""

    junction: Junction
    facts: dict[str, Fact] = field(default_factory=dict)

    @property
    def caps(self) -> Caps:
        fields = {name: fact.value for name, fact in self.facts.items() if name != _MEDIA_TYPE}
        media = self.facts.get(_MEDIA_TYPE)
        return Caps(str(media.value) if media else ANY, fields)

    def learn(self, caps: Caps, origin: str, *, gives: bool) -> None:
        for name, value in _entries(caps).items():
            self.add(name, Fact(value, origin, gives))
        known = self.facts.get(_MEDIA_TYPE)
        if known and caps.clash(Caps(str(known.value))):
            raise LinkError(_clash(self.junction, _MEDIA_TYPE, known, Fact(caps.media, origin, gives)))

    def add(self, name: str, fact: Fact) -> None:
        known = self.facts.setdefault(name, fact)
        if known.value != fact.value:
            raise LinkError(_clash(self.junction, name, known, fact))


@dataclass(frozen=True)
class Agreement:
    """What was agreed: the caps of each junction, and of each element's two pads (by ``id``)."""

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
    """Agree on the caps of every junction between ``elements`` (upstream first). Raises :class:`LinkError`.

    ``pushed`` and ``pulled`` are caps fixed from outside the line, by the ``id`` of the element that gets or gives
    them: what a test harness pushes in and wants out.
    """
    places = [_Place(junction) for junction in junctions]
    takes = {id(element): place for place in places for element in place.junction.consumers}
    gives = {id(element): place for place in places for element in place.junction.producers}
    for where, caps, is_given in [(takes, pushed, True), (gives, pulled, False)]:
        for identity, fixed in (caps or {}).items():
            where[identity].learn(fixed, "the harness", gives=is_given)
    _settle(elements, takes, gives)
    for element in elements:
        if place := gives.get(id(element)):
            place.learn(element.fixate_caps(place.caps), label(element), gives=True)
            _settle(elements, takes, gives)
    return Agreement(
        tuple(place.caps for place in places),
        {identity: place.caps for identity, place in takes.items()},
        {identity: place.caps for identity, place in gives.items()},
    )


def tell(elements: Sequence[Element], agreement: Agreement) -> None:
    """Let every element know what its two links carry."""
    for element in elements:
        with error_context(element):
            element.set_caps(agreement.sinks.get(id(element)), agreement.srcs.get(id(element)))


def _settle(elements: Sequence[Element], takes: Mapping[int, _Place], gives: Mapping[int, _Place]) -> None:
    """Let every element speak until nobody says anything new; each round adds a fact, so it ends."""
    known = -1
    while known != (known := sum(len(place.facts) for place in {*takes.values(), *gives.values()})):
        for element in elements:
            _speak(element, takes.get(id(element)), gives.get(id(element)))


def _speak(element: Element, sink: _Place | None, src: _Place | None) -> None:
    """One element adds what it knows to the junctions on its two sides."""
    with error_context(element):
        accepted = element.sink_caps()
        if sink and accepted:
            sink.learn(accepted, label(element), gives=False)
        offered = element.src_caps(sink.caps if sink else None)
    if sink and src and accepted and offered and passes_through(element):
        own = _entries(accepted) if _is_open(type(element).src) else _entries(accepted) | _entries(offered)
        _copy(sink, src, besides=own)
        _copy(src, sink, besides=own)
    if src and offered:
        src.learn(offered, label(element), gives=True)


def passes_through(element: Element) -> bool:
    """Whether what comes out is of the same media type as what goes in, by the templates."""
    sink, src = type(element).sink, type(element).src
    return sink is not None and src is not None and sink.media == src.media


def _is_open(template: Caps | None) -> bool:
    return template is not None and not template.is_settled


def _copy(here: _Place, there: _Place, *, besides: Collection[str]) -> None:
    """Pass on what is known here, but for the fields that the element speaks of itself."""
    for name, fact in list(here.facts.items()):
        if name not in besides:
            there.add(name, fact)


def _entries(caps: Caps) -> dict[str, CapsValue]:
    media: dict[str, CapsValue] = {_MEDIA_TYPE: caps.media} if caps.is_settled else {}
    return media | dict(caps.fields)


# -- words ------------------------------------------------------------------------------------------------------------


def _clash(junction: Junction, name: str, known: Fact, new: Fact) -> str:
    if known.gives == new.gives:
        return _rivals(junction, name, known, new)
    giver, taker = (known, new) if known.gives else (new, known)
    why = f"{_spelt(name, giver.value)} is not {_spelt(name, taker.value, short=True)}"
    return f"could not link {giver.origin} to {taker.origin}: {why}; {_remedy(name, giver, taker)}"


def _rivals(junction: Junction, name: str, one: Fact, other: Fact) -> str:
    """Two that give different things into one queue, or want different things from one place."""
    where = f" queue {junction.name!r}" if junction.name else " one place"
    verb = "both feed" if one.gives else "both read"
    facts = ", ".join(f"{fact.origin} {_said(name, fact)}" for fact in (one, other))
    its_own = "" if one.gives or name == _MEDIA_TYPE else f" '{_fixer(name)}'"
    return f"{one.origin} and {other.origin} cannot {verb}{where}: {facts}; give each its own{its_own}"


def _said(name: str, fact: Fact) -> str:
    if name == _MEDIA_TYPE:
        return f"{'gives' if fact.gives else 'takes'} {fact.value!r}"
    return f"{name}={fact.value}"


def _spelt(name: str, value: CapsValue, *, short: bool = False) -> str:
    if name == _MEDIA_TYPE:
        types = " or ".join(map(repr, str(value).split(OR)))
        return types if short else f"{name} {types}"
    return f"{name}={value}"


def _fixer(name: str) -> str:
    return "window" if name in ("past", "future") else "stage upstream"


def _remedy(name: str, giver: Fact, taker: Fact) -> str:
    if name != _MEDIA_TYPE:
        return f"leave {name}= away from {giver.origin} and linking fixes it"
    start, end = (str(fact.value).split(OR)[0] for fact in (giver, taker))
    if start not in MEDIA or end not in MEDIA:
        return f"put an element between them that makes {end!r} of {start!r}"
    if route := _route(start, end):
        return f"put '{route}' between them"
    return f"{taker.origin} belongs before {giver.origin}, or is not needed"


def _route(start: str, end: str) -> str:
    """The stages that lead from one media type to a later one: ``detect ! window``."""
    return " ! ".join(_STAGES[MEDIA.index(start) : MEDIA.index(end)])
