"""A source whose every pixel is known from camera and number: ``tests.stream.toys.painted``."""

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
from stream.element import Source
from stream.errors import SourceError
from stream.messages import Frame


@dataclass
class Painted(Source):
    """Gives numbered pictures, as fast as they are taken or ``interval_ms`` apart; when live, without waiting."""

    src = Caps("video/raw")

    camera: Annotated[str, Meta(description="the camera's name")] = "hall"
    num_frames: Annotated[int, Meta(ge=0, description="how many frames there are")] = 10
    width: Annotated[int, Meta(ge=1)] = 64
    height: Annotated[int, Meta(ge=1)] = 48
    interval_ms: Annotated[float, Meta(ge=0, description="time between two frames")] = 0.0
    is_live: Annotated[bool, Meta(description="whether frames come at their own pace, as a camera's do")] = False
    fails_at: Annotated[int, Meta(ge=-1, description="the frame at which the file is damaged")] = -1
    is_missing: Annotated[bool, Meta(description="whether it cannot be opened")] = False

    def __enter__(self) -> Painted:
        if self.is_missing:
            raise SourceError(f"{self.camera}: no such camera; plug it in")
        return self

    def frames(self) -> Iterator[Frame | None]:
        due_s = time.monotonic()
        for seq in range(self.num_frames):
            if seq == self.fails_at:
                raise SourceError(f"{self.camera}: damaged at frame {seq}; copy the file again")
            due_s += self.interval_ms / 1000
            while (left_s := due_s - time.monotonic()) > 0:
                time.sleep(min(left_s, 0.2))
                if due_s - time.monotonic() > 0:
                    yield None
            pixels = self.context.allocate((self.height, self.width, 3))
            pixels[:] = colour(self.camera, seq)
            yield Frame(self.camera, seq, seq * 40_000_000, self.context.now_ns(), pixels)


def colour(camera: str, seq: int) -> NDArray[np.uint8]:
    """The one colour of a whole picture, (3,) uint8 BGR."""
    return np.frombuffer(zlib.crc32(f"{camera} {seq}".encode()).to_bytes(4, "little")[:3], np.uint8)
