"""A pose network that looks at every pixel of its window: ``tests.stream.toys.gauge``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses, Window


@dataclass
class Gauge(Transform):
    """Joint ``i`` is the mean colour of frame ``i`` of the window; several windows are taken at once."""

    sink = Caps("people/window")
    src = Caps("people/poses")

    past: Annotated[int, Meta(ge=0)] = 2
    future: Annotated[int, Meta(ge=0)] = 1
    step_ms: Annotated[float, Meta(ge=0, description="how long it takes, however many there are")] = 0.0

    def sink_caps(self) -> Caps:
        return Caps("people/window", past=self.past, future=self.future)

    @property
    def max_batch(self) -> int:
        return 4

    def process(self, item: Window) -> Iterator[Poses]:
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Window]) -> Iterator[Poses]:
        time.sleep(self.step_ms / 1000)
        yield from map(_poses, items)


def _poses(item: Window) -> Poses:
    colours = [frame.pixels.mean(axis=(0, 1)) for frame in item.frames]
    keypoints = np.repeat(np.asarray(colours, np.float32)[None], len(item.people.ids), axis=0)
    return Poses(item.key_frame, item.people.boxes, item.people.scores, item.people.ids, keypoints, "toy")
