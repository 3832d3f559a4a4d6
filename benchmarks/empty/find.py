"""``benchmarks.empty.find``: one person in every frame, always the same."""

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
class Find(Transform):
    """Takes ``step_ms`` per frame."""

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    step_ms: Annotated[float, Meta(ge=0, description="how long it takes")] = 0.0

    def process(self, item: Frame) -> Iterator[People]:
        time.sleep(self.step_ms / 1000)
        yield People.from_boxes(item, [(100, 100, 300, 600)], [1.0], [1])
