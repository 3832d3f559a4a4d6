"""``fakesink``: the end of a line that needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Sink
from stream.messages import Frame, Message, Poses, Window


@dataclass
class Fakesink(Sink):
    """Takes anything, counts it in ``count`` and throws it away; for trying and timing the rest of a line."""

    sink = Caps(ANY)

    dump: Annotated[bool, Meta(description="print one line of text for every item")] = False

    def __post_init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self.count = 0
        return self

    def consume(self, item: Message) -> None:
        self.count += 1
        if self.dump:
            print(summary(item), flush=True)


def summary(item: Message) -> str:
    """One line that says what an item is: ``hall 12 poses 3 people``."""
    camera, seq = item.key
    return f"{camera} {seq} {type(item).__name__.lower()} {_content(item)}"


def _content(item: Message) -> str:
    if isinstance(item, Frame):
        width, height = item.size
        return f"{width}x{height}"
    ids = item.people.ids if isinstance(item, Window) else item.ids
    count = f"{len(ids)} {'person' if len(ids) == 1 else 'people'}"
    if isinstance(item, Window):
        return f"{count} {' '.join(item.states)}"
    return f"{count} {item.skeleton}" if isinstance(item, Poses) else count
