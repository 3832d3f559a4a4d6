"""Caps: the type of what flows over a link, written ``people/window, past=2, future=2``.

A missing field is *open*: the neighbour may fix it. ``&`` intersects two caps. Alternative media types are separated by
``|``: ``people/boxes|people/poses``.

>>> Caps.parse("people/window") & Caps.parse("people/window, past=2, future=2")
Caps('people/window, past=2, future=2')
>>> Caps.parse("video/raw").clash(Caps.parse("people/boxes"))
"media type 'video/raw' is not 'people/boxes'"
>>> Caps.parse("people/poses, skeleton=coco17") & Caps.parse("people/boxes|people/poses")
Caps('people/poses, skeleton=coco17')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from stream.errors import LaunchError

CapsValue = int | str
ANY = "any"
"""The media type that matches every other (of ``queue``, ``tee`` and ``fakesink``)."""

MEDIA = ("video/raw", "people/boxes", "people/window", "people/poses")
"""The media types of ``Frame``, ``People``, ``Window`` and ``Poses``, in the order in which they follow each other."""

OR = "|"
"""Separates alternative media types; the first one is the default."""

_MEDIA = re.compile(r"[a-z]+/[a-z]+(\|[a-z]+/[a-z]+)*|any")
_FIELD = re.compile(r"([a-z_]+)\s*=\s*([A-Za-z0-9_.+-]+)")


class Caps:
    """A media type and its fields; immutable, hashable, equal by value."""

    __slots__ = ("fields", "media")

    def __init__(self, media: str, fields: Mapping[str, CapsValue] | None = None, **more: CapsValue) -> None:
        self.media = media
        self.fields: Mapping[str, CapsValue] = MappingProxyType({**(fields or {}), **more})

    @classmethod
    def parse(cls, text: str) -> Caps:
        """Parse ``media/type, field=value, …``. Raises :class:`LaunchError` that quotes the wrong part."""
        media, *rest = (part.strip() for part in text.split(","))
        if not _MEDIA.fullmatch(media):
            raise LaunchError(f"caps {text!r}: {media!r} is not a media type; write something like 'people/window'")
        fields: dict[str, CapsValue] = {}
        for part in rest:
            match = _FIELD.fullmatch(part)
            if match is None:
                raise LaunchError(f"caps {text!r}: {part!r} is not name=value")
            name, value = match.groups()
            fields[name] = int(value) if re.fullmatch(r"[+-]?\d+", value) else value
        return cls(media, fields)

    @property
    def choices(self) -> tuple[str, ...]:
        """The alternative media types; ``any`` counts as one."""
        return tuple(self.media.split(OR))

    @property
    def is_settled(self) -> bool:
        """True where there is exactly one media type."""
        return self.media != ANY and OR not in self.media

    def clash(self, other: Caps) -> str | None:
        """Why the two do not intersect, or None where they do."""
        if ANY not in (self.media, other.media) and not set(self.choices) & set(other.choices):
            return f"media type {self.media!r} is not {other.media!r}"
        for name in self.fields.keys() & other.fields.keys():
            if self.fields[name] != other.fields[name]:
                return f"{name}={self.fields[name]} is not {name}={other.fields[name]}"
        return None

    def __and__(self, other: Caps) -> Caps:
        """The intersection. Raises ``ValueError`` with the clash."""
        if why := self.clash(other):
            raise ValueError(why)
        both = [media for media in self.choices if ANY in (self.media, other.media) or media in other.choices]
        media = other.media if self.media == ANY else OR.join(both)
        return Caps(media, {**self.fields, **other.fields})

    def get(self, name: str, default: int = 0) -> int:
        """An integer field, or ``default`` where it is open."""
        value = self.fields.get(name, default)
        return value if isinstance(value, int) else default

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caps) and (self.media, dict(self.fields)) == (other.media, dict(other.fields))

    def __hash__(self) -> int:
        return hash((self.media, frozenset(self.fields.items())))

    def __str__(self) -> str:
        return ", ".join([self.media, *(f"{name}={value}" for name, value in self.fields.items())])

    def __repr__(self) -> str:
        return f"Caps({str(self)!r})"
