"""``testsrc``: several people walking, waving and crossing, drawn from a seed, with the exact truth about them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.datasets.synthetic.scene import Picture, Scene
from stream.caps import Caps
from stream.element import Source
from stream.messages import Frame, Truth
from stream.registry import label

_NAP_S = 0.25
"""The longest wait without a word to whoever runs the source; twice a second is asked for."""


@dataclass
class Testsrc(Source):
    """Synthetic people whose every joint is known, so that a line can be tried and scored without a camera.

    Frames are (height, width, 3) uint8 BGR; the same seed gives the same frames, on every machine and in any process.
    ``frame.truth`` holds boxes of the drawn silhouettes (N, 4) px, ids from 1, and the 17 joints of COCO (N, 17, 3): x,
    y px and visibility (0 outside the picture, 1 hidden by somebody or by the own body, 2 visible). With ``realtime``
    it behaves as a camera: frames come at their time, and those a full line cannot take are dropped.
    """

    src = Caps("video/raw")
    __test__ = False  # a name that begins with Test is not a test

    camera: Annotated[str, Meta(description="what the frames' camera is called; empty for the element's own name")] = ""
    width: Annotated[int, Meta(ge=64, le=4096, description="px")] = 640
    height: Annotated[int, Meta(ge=64, le=4096, description="px")] = 480
    fps: Annotated[float, Meta(gt=0, le=1000, description="frames a second")] = 30.0
    people: Annotated[int, Meta(ge=0, le=8, description="how many walk about")] = 3
    seed: Annotated[int, Meta(ge=0, description="another number, other people in another place")] = 0
    num_frames: Annotated[int, Meta(ge=0, description="how many frames to give; 0 for no end")] = 0
    realtime: Annotated[bool, Meta(description="give each frame at its time, as a camera would")] = False
    blur: Annotated[float, Meta(ge=0, le=20, description="px (sigma) of blur: harder")] = 0.0
    noise: Annotated[
        Annotated[float, Meta(ge=0, le=60)] | None,
        Meta(description="grey levels (sigma) of noise; those of the conditions when left out"),
    ] = None
    conditions: Annotated[
        Kind,
        Meta(description="how hard to see: motion blur and a moving camera, things in front, people close together"),
    ] = "easy"

    def __post_init__(self) -> None:
        self._scene: Scene | None = None

    def __enter__(self) -> Self:
        self._scene = Scene(
            self.seed,
            self.people,
            self.width,
            self.height,
            blur=self.blur,
            noise=self.noise,
            conditions=CONDITIONS[self.conditions],
        )
        return self

    @property
    def live(self) -> bool:
        return self.realtime

    @property
    def nominal_fps(self) -> float | None:
        return self.fps

    @property
    def length(self) -> int | None:
        return self.num_frames or None

    def frames(self) -> Iterator[Frame | None]:
        scene = self._scene or self.__enter__()._scene
        assert scene is not None
        first = self._given + 1 if self.realtime else 0
        begun_ns = time.monotonic_ns() - self._pts_ns(first)
        for seq in range(first, self.num_frames) if self.num_frames else count(first):
            if self.realtime:
                yield from _waiting(begun_ns + self._pts_ns(seq))
                self.context.memory["seq"] = seq
            captured_ns = self.context.now_ns()
            yield self._frame(scene.at(seq / self.fps, seq), seq, self._pts_ns(seq), captured_ns)

    def _pts_ns(self, seq: int) -> int:
        return round(seq * 1e9 / self.fps)

    @property
    def _given(self) -> int:
        """The last frame that an earlier life of this stage gave: a camera does not give it again."""
        return self.context.memory.get("seq", -1) if self.context.incarnation else -1

    def _frame(self, picture: Picture, seq: int, pts_ns: int, captured_ns: int) -> Frame:
        pixels = self.context.allocate((self.height, self.width, 3))
        np.copyto(pixels, picture.pixels)
        ledger = {"captured": captured_ns, "decoded": self.context.now_ns()}
        truth = Truth(picture.boxes, picture.ids, picture.keypoints)
        return Frame(self.camera or label(self), seq, pts_ns, captured_ns, pixels, ledger, truth)


def _waiting(until_ns: int) -> Iterator[None]:
    """Sleep until a moment of the monotonic clock; a word in between when that is long."""
    while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
        time.sleep(min(left_s, _NAP_S))
        if left_s > _NAP_S:
            yield None
