"""A pose network for tests: ``tests.toys.estimate``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses, Window, WindowFrame


@dataclass
class Estimate(Transform):
    """Wants windows of a certain length and puts every joint at the mean of the window's ``seq``."""

    sink = Caps("people/window")
    src = Caps("people/poses")

    past: Annotated[int, Meta(ge=0, description="frames before the key frame")] = 1
    future: Annotated[int, Meta(ge=0, description="frames after the key frame")] = 1

    def sink_caps(self) -> Caps:
        return Caps("people/window", past=self.past, future=self.future)

    def process(self, item: Window) -> Iterator[Poses]:
        people, mean = item.people, np.mean([frame.seq for frame in item.frames])
        keypoints = np.full((len(people.ids), 17, 3), mean, np.float32)
        result = tuple(
            WindowFrame(place - item.index, frame.seq, frame.pts_ns, state)
            for place, (frame, state) in enumerate(zip(item.frames, item.states, strict=True))
        )
        yield Poses(item.key_frame, people.boxes, people.scores, people.ids, keypoints, "coco17", window=result)
