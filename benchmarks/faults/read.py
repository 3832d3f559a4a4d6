"""``benchmarks.faults.read``: one person, whose box follows from the picture's last pixel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Frame, People


@dataclass
class Read(Transform):
    """Takes ``step_ms`` per frame."""

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    step_ms: Annotated[float, Meta(ge=0, description="how long it takes")] = 0.0

    def process(self, item: Frame) -> Iterator[People]:
        time.sleep(self.step_ms / 1000)
        blue, green, red = (float(value) for value in item.pixels[-1, -1])
        yield People.from_boxes(item, [(blue, green, blue + red + 1, green + red + 1)], [1.0], [1])
