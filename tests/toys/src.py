"""A source for tests, named in launch strings as outsiders name theirs: ``tests.toys.src``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Source
from stream.messages import Frame
from stream.testing import make_frame


@dataclass
class Src(Source):
    """Gives numbered frames of noise, leaving out those of ``missing``."""

    src = Caps("video/raw")

    camera: Annotated[str, Meta(description="the camera's name")] = "cam"
    num_frames: Annotated[int, Meta(ge=0, description="how many frames are captured")] = 3
    missing: Annotated[tuple[int, ...], Meta(description="numbers that never enter the line")] = ()
    fps: Annotated[float | None, Meta(description="the rate it claims")] = None
    is_live: Annotated[bool, Meta(description="whether frames come at their own pace, as a camera's do")] = False

    @property
    def nominal_fps(self) -> float | None:
        return self.fps

    def frames(self) -> Iterator[Frame | None]:
        for seq in range(self.num_frames):
            yield None if seq in self.missing else make_frame(seq, self.camera)
