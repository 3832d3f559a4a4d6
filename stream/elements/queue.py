"""``queue``: the boundary between two processes, as GStreamer's ``queue`` is between two threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Transform


@dataclass
class Queue(Transform):
    """Ends one part of the line and begins the next, which runs in its own process.

    The credits of the sources upstream, not the queue, bound how many items wait. A ``leaky`` queue keeps only
    ``max_items`` waiting items and counts those it drops: ``downstream`` drops the oldest, ``upstream`` refuses the
    newest. ``auto`` means ``downstream`` if a live source feeds it, and ``no`` if every source can wait, so that a file
    loses nothing.

    With a ``name``, several lines may end in it (fan-in) and several may begin with ``from NAME`` (each receives
    every item). In a single process it passes items through.
    """

    sink = Caps(ANY)
    src = Caps(ANY)

    name: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]*$", description="name by which other lines begin from it: from NAME")
    ] = ""
    leaky: Annotated[
        Literal["auto", "no", "upstream", "downstream"],
        Meta(description="what a full queue drops: nothing (no), the newest (upstream) or the oldest (downstream)"),
    ] = "auto"
    max_items: Annotated[int, Meta(ge=1, description="waiting items that a leaky queue keeps")] = 1
    address: Annotated[
        str, Meta(description="tcp://HOST:PORT to reach another host; empty for a socket in the run directory")
    ] = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
