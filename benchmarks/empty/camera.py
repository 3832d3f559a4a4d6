"""``benchmarks.empty.camera``: uniform pictures, with every pixel written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Source
from stream.messages import Frame


@dataclass
class Camera(Source):
    """Delivers frames as fast as the line takes them if ``fps`` is 0, else at that rate, as a camera."""

    src = Caps("video/raw")

    camera: Annotated[str, Meta(description="the camera's name")] = "cam"
    num_frames: Annotated[int, Meta(ge=0, description="how many")] = 100
    fps: Annotated[float, Meta(ge=0, description="frames a second; 0 for a source that waits")] = 0.0
    width: Annotated[int, Meta(ge=1)] = 1280
    height: Annotated[int, Meta(ge=1)] = 720

    @property
    def is_live(self) -> bool:
        return self.fps > 0

    @property
    def nominal_fps(self) -> float | None:
        return self.fps or None

    def frames(self) -> Iterator[Frame | None]:
        due_s = time.monotonic()
        for seq in range(self.num_frames):
            if self.fps:
                due_s += 1 / self.fps
                time.sleep(max(0.0, due_s - time.monotonic()))
            captured_ns = self.context.now_ns()
            pixels = self.context.allocate((self.height, self.width, 3))
            pixels[:] = seq % 256
            yield Frame(self.camera, seq, captured_ns, captured_ns, pixels, {"captured": captured_ns})
