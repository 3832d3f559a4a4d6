"""``benchmarks.faults.marked``: pictures of one colour, which follows from the camera's name and the frame's number."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stream.caps import Caps
from stream.capture.pacing import last_seq, sleep_until
from stream.element import Source
from stream.messages import Frame


@dataclass
class Marked(Source):
    """Delivers frames as fast as the line takes them, or, with ``realtime``, at their times, as a camera."""

    src = Caps("video/raw")

    camera: Annotated[str, Meta(description="the camera's name")] = "hall"
    num_frames: Annotated[int, Meta(ge=0, description="how many")] = 10
    fps: Annotated[float, Meta(gt=0, description="frames per second")] = 25.0
    width: Annotated[int, Meta(ge=1, description="px")] = 64
    height: Annotated[int, Meta(ge=1, description="px")] = 64
    realtime: Annotated[bool, Meta(description="deliver each frame at its time, as a camera would")] = False

    @property
    def is_live(self) -> bool:
        return self.realtime

    @property
    def nominal_fps(self) -> float | None:
        return self.fps

    def frames(self) -> Iterator[Frame | None]:
        first = last_seq(self.context) + 1 if self.realtime else 0
        period_ns = round(1e9 / self.fps)
        start_ns = time.monotonic_ns() - first * period_ns
        for seq in range(first, self.num_frames):
            if self.realtime:
                yield from sleep_until(start_ns + seq * period_ns)
                self.context.memory["seq"] = seq
            pixels = self.context.allocate((self.height, self.width, 3))
            pixels[:] = make_colour(self.camera, seq)
            now_ns = self.context.now_ns()
            yield Frame(self.camera, seq, seq * period_ns, now_ns, pixels, {"captured": now_ns})


def make_colour(camera: str, seq: int) -> NDArray[np.uint8]:
    """The colour of a picture, (3,) uint8 BGR."""
    return np.frombuffer(zlib.crc32(f"{camera} {seq}".encode()).to_bytes(4, "little")[:3], np.uint8)
