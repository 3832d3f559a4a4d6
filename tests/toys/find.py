"""A detector for tests: ``tests.toys.find``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Frame, People


@dataclass
class Find(Transform):
    """Sees ``count`` people side by side, whatever the picture shows."""

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    count: Annotated[int, Meta(ge=0, le=100, description="how many people")] = 2

    def process(self, item: Frame) -> Iterator[People]:
        boxes = [(10.0 * index, 2.0, 10.0 * index + 8.0, 40.0) for index in range(self.count)]
        yield People.from_boxes(item.stamp("detected", self.context.now_ns()), boxes, [0.9] * self.count)
