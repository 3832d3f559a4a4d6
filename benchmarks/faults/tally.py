"""``benchmarks.faults.tally``: keypoints that hold what the element has seen and what it remembers."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Poses, Window

JOINTS = 17
_CHECKSUMS = 10_000


@dataclass
class Tally(Transform):
    """Of every window: a checksum of the pixels of each frame; the sum of the last ``back`` + 1 of its camera; and how
    many of its camera there were, as counted in the memory that survives restarts, unless it takes several at once
    (what these change together is stored when the last of them is done with)."""

    sink = Caps("people/window")
    src = Caps("people/poses")

    past: Annotated[int, Meta(ge=0, le=6, description="frames before the key frame")] = 2
    future: Annotated[int, Meta(ge=0, le=6, description="frames after the key frame")] = 1
    back: Annotated[int, Meta(ge=0, description="how many earlier windows it looks back on")] = 3
    batch: Annotated[int, Meta(ge=1, description="how many windows it takes at once")] = 4
    step_ms: Annotated[float, Meta(ge=0, description="how long a window takes")] = 0.0

    def __post_init__(self) -> None:
        self._recent: dict[str, deque[int]] = {}

    def sink_caps(self) -> Caps:
        return Caps("people/window", past=self.past, future=self.future)

    @property
    def max_batch(self) -> int:
        return self.batch

    @property
    def reach(self) -> int:
        return self.back

    def process(self, item: Window) -> Iterator[Poses]:
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Window]) -> Iterator[Poses]:
        for item in items:
            time.sleep(self.step_ms / 1000)
            yield self._count(item)

    def flush(self, camera: str | None = None) -> Iterator[Poses]:
        for name in list(self._recent) if camera is None else [camera]:
            self._recent.pop(name, None)
        yield from ()

    def _count(self, item: Window) -> Poses:
        camera = item.key_frame.camera
        sums = [zlib.crc32(frame.pixels.tobytes()) % _CHECKSUMS for frame in item.frames]
        recent = self._recent.setdefault(camera, deque(maxlen=self.back + 1))
        recent.append(sums[item.index])
        if self.batch == 1:
            self.context.memory[camera] = self.context.memory.get(camera, 0) + 1
        values = [*sums, sum(recent), self.context.memory.get(camera, 0)]
        keypoints = np.zeros((len(item.people.ids), JOINTS, 3), np.float32)
        keypoints[:, : len(values), 0] = values
        people = item.people
        return Poses(item.key_frame, people.boxes, people.scores, people.ids, keypoints, "coco17", "tally")
