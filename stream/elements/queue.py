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
    """Ends one part of the line and begins the next, which runs in a process of its own.

    What a queue holds is bounded by the credits of the sources upstream, not by the queue. A ``leaky`` queue keeps only
    the newest ``max_items`` that wait and counts those it drops: ``downstream`` drops the oldest, ``upstream`` refuses
    the newest. ``auto`` is ``downstream`` where a live source feeds it, and ``no`` where every source can wait, so that
    a file loses nothing.

    Give it a ``name`` to make it an address: several lines may end in it (fan-in), several may begin with
    ``from NAME`` (each receives everything). In one process it passes items on.
    """

    sink = Caps(ANY)
    src = Caps(ANY)

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*$", description="what other lines call it: from NAME")] = ""
    leaky: Annotated[
        Literal["auto", "no", "upstream", "downstream"],
        Meta(description="which waiting items are dropped when a newer one comes: none, the newest or the oldest"),
    ] = "auto"
    max_items: Annotated[int, Meta(ge=1, description="how many waiting items a leaky queue keeps")] = 1
    address: Annotated[
        str, Meta(description="tcp://HOST:PORT to reach another host; empty for a socket in the run directory")
    ] = ""

    def process(self, item: Any) -> Iterator[Any]:
        yield item
