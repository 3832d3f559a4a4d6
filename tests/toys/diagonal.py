"""A pose network for whatever has boxes: ``tests.toys.diagonal``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stream.caps import Caps
from stream.element import Transform
from stream.messages import People, Poses


@dataclass
class Diagonal(Transform):
    """Lays the 17 joints along the diagonal of each box, so that keypoints tell which boxes they were made of."""

    sink = Caps("people/boxes")
    src = Caps("people/poses")

    def process(self, item: People) -> Iterator[Poses]:
        share = np.linspace(0, 1, 17, dtype=np.float32)[None, :, None]
        points = item.boxes[:, None, :2] * (1 - share) + item.boxes[:, None, 2:] * share
        keypoints = np.concatenate([points, np.ones_like(points[..., :1])], axis=2)
        yield Poses(item.frame, item.boxes, item.scores, item.ids, keypoints, "coco17", "diagonal")
