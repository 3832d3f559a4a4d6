"""``fakesink``: discards items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from msgspec import Meta

from stream import wording
from stream.caps import ANY, Caps
from stream.element import Sink
from stream.messages import Frame, Message, Poses, Window
from stream.output.standard_output import StandardOutput


@dataclass
class Fakesink(Sink):
    """Discards its items and counts them in ``count``; for testing and timing the rest of a line."""

    sink = Caps(ANY)

    dump: Annotated[bool, Meta(description="print one line of text per item")] = False

    def __post_init__(self) -> None:
        self.count = 0
        self._stdout = StandardOutput("fakesink", self.context, "redirect stdout")

    def __enter__(self) -> Self:
        self.count = 0
        self._stdout = StandardOutput("fakesink", self.context, "redirect stdout")
        return self

    def consume(self, item: Message) -> None:
        self.count += 1
        if self.dump:
            self._stdout.write(f"{summarise(item)}\n".encode())


def summarise(item: Message) -> str:
    """Summarise an item in one line: ``hall 12 poses 3 people``."""
    camera, seq = item.key
    return f"{camera} {seq} {type(item).__name__.lower()} {_summarise_content(item)}"


def _summarise_content(item: Message) -> str:
    if isinstance(item, Frame):
        width, height = item.size
        return f"{width}x{height}"
    ids = item.people.ids if isinstance(item, Window) else item.ids
    count = wording.count(len(ids), "person", "people")
    if isinstance(item, Window):
        return f"{count} {' '.join(item.states)}"
    return f"{count} {item.skeleton}" if isinstance(item, Poses) else count
