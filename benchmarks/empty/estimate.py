"""``benchmarks.empty.estimate``: keypoints that are all zero."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses, Window


@dataclass
class Estimate(Transform):
    """Takes ``step_ms`` per window; windows have no future frames, which would add latency by design."""

    sink = Caps("people/window")
    src = Caps("people/poses")

    step_ms: Annotated[float, Meta(ge=0, description="how long it takes")] = 0.0
    past: Annotated[int, Meta(ge=0, description="frames before the key frame")] = 2

    def sink_caps(self) -> Caps:
        return Caps("people/window", past=self.past, future=0)

    def process(self, item: Window) -> Iterator[Poses]:
        time.sleep(self.step_ms / 1000)
        people = item.people
        keypoints = np.zeros((len(people.ids), 17, 3), np.float32)
        yield Poses(item.key_frame, people.boxes, people.scores, people.ids, keypoints, "coco17", "empty")
