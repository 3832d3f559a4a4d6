"""``benchmarks.empty.receive``: records the arrival of each item and the capture time of its frame."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Sink
from stream.messages import Poses


@dataclass
class Receive(Sink):
    """Writes a list of [seq, captured ns, arrived ns] to ``location`` at the end of the stream."""

    sink = Caps("people/poses")

    location: Annotated[str, Meta(description="the JSON file")]

    def __post_init__(self) -> None:
        self._arrivals: list[tuple[int, int, int]] = []

    def consume(self, item: Poses) -> None:
        self._arrivals.append((item.frame.seq, item.frame.wall_ns, time.time_ns()))

    def flush(self) -> None:
        Path(self.location).write_text(json.dumps(self._arrivals))
