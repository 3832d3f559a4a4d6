"""``tee``: where a line branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Transform


@dataclass
class Tee(Transform):
    """Gives everything it gets to each branch that begins ``from NAME``; every branch begins with a queue.

    Unlike several lines that read one named queue, the branches of a tee each have a queue of their own, so that one
    may be leaky (a display) while another loses nothing (a recording).
    """

    sink = Caps(ANY)
    src = Caps(ANY)

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*$", description="what its branches call it: from NAME")] = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
