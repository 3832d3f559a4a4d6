"""A pose network that knows: ``tests.toys.oracle``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Frame, Poses


@dataclass
class Oracle(Transform):
    """Says the truth about every frame that brings some, and takes ``step_ms`` for it."""

    sink = Caps("video/raw")
    src = Caps("people/poses")

    step_ms: Annotated[float, Meta(ge=0, description="how long it takes")] = 0.0

    def process(self, item: Frame) -> Iterator[Poses]:
        time.sleep(self.step_ms / 1000)
        assert item.truth is not None
        keypoints = item.truth.keypoints.copy()
        keypoints[..., 2] = 1.0
        scores = np.ones(len(item.truth.ids), np.float32)
        yield Poses(item, item.truth.boxes, scores, item.truth.ids, keypoints, "coco17", "oracle")
