"""``tee``: branches a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Transform


@dataclass
class Tee(Transform):
    """Passes every item to each branch that begins ``from NAME``; every branch begins with a queue.

    Unlike lines that read one named queue, each branch of a tee has its own queue, so that one may be leaky (a display)
    while another loses nothing (a recording).
    """

    sink = Caps(ANY)
    src = Caps(ANY)

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]*$", description="name by which its branches begin: from NAME")
    ] = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
