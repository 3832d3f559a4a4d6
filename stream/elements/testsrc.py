"""``testsrc``: synthetic people who walk, wave and cross, with exact ground truth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Self

import msgspec
import numpy as np
from msgspec import Meta

from engines.datasets.synthetic.conditions import CONDITIONS, Conditions, Kind
from engines.datasets.synthetic.scene import Picture, Scene
from stream.caps import Caps
from stream.capture.pacing import last_seq, sleep_until
from stream.element import Source
from stream.messages import Frame, Truth
from stream.registry import label


@dataclass
class Testsrc(Source):
    """Synthetic people with known joints, to try and score a line without a camera.

    Frames are (height, width, 3) uint8 BGR; the same seed gives the same frames on every machine and in any process.
    ``frame.truth`` holds the boxes of the drawn silhouettes (N, 4) px, ids from 1, and the 17 joints of COCO
    (N, 17, 3): x, y px and visibility (0 outside the picture, 1 hidden by a person, 2 visible). With ``realtime`` it
    behaves as a camera: frames are delivered at their time, and dropped if the line is full. Each is drawn before its
    time, as a camera has nothing to draw, so drawing does not count as age.
    """

    src = Caps("video/raw")
    has_truth = True
    __test__ = False  # a name that begins with Test is not a test

    camera: Annotated[str, Meta(description="camera name in the frames; empty for the element's own name")] = ""
    width: Annotated[int, Meta(ge=64, le=4096, description="px")] = 640
    height: Annotated[int, Meta(ge=64, le=4096, description="px")] = 480
    fps: Annotated[float, Meta(ge=1e-5, le=1000, description="frames per second")] = 30.0
    people: Annotated[int, Meta(ge=0, le=8, description="number of people")] = 3
    seed: Annotated[int, Meta(ge=0, description="random seed of the people and the background")] = 0
    num_frames: Annotated[int, Meta(ge=0, description="frames to deliver; 0 for no limit")] = 0
    realtime: Annotated[bool, Meta(description="deliver each frame at its time, as a camera would")] = False
    blur: Annotated[float, Meta(ge=0, le=20, description="sigma of the blur, px")] = 0.0
    noise: Annotated[
        Annotated[float, Meta(ge=0, le=60)] | None,
        Meta(description="sigma of the noise, grey levels; the default depends on conditions"),
    ] = None
    conditions: Annotated[
        Kind,
        Meta(description="difficulty: motion blur and a moving camera, objects in front, or people close together"),
    ] = "easy"

    pace: Annotated[
        Annotated[float, Meta(gt=0, le=5)] | None,
        Meta(description="speed of people, relative to walking; the default depends on conditions"),
    ] = None

    def __post_init__(self) -> None:
        self._scene: Scene | None = None

    def __enter__(self) -> Self:
        self._scene = self.make_scene()
        return self

    def make_scene(self) -> Scene:
        """The scene that it shows, whose ground truth of any moment can be computed again."""
        conditions: Conditions = CONDITIONS[self.conditions]
        if self.pace is not None:
            conditions = msgspec.structs.replace(conditions, pace=self.pace)
        return Scene(
            self.seed, self.people, self.width, self.height, blur=self.blur, noise=self.noise, conditions=conditions
        )

    @property
    def is_live(self) -> bool:
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
        first = last_seq(self.context) + 1 if self.realtime else 0
        start_ns = time.monotonic_ns() - self._pts_ns(first)
        for seq in range(first, self.num_frames) if self.num_frames else count(first):
            picture = scene.at(seq / self.fps, seq)
            if self.realtime:
                yield from sleep_until(start_ns + self._pts_ns(seq))
                self.context.memory["seq"] = seq
            captured_ns = self.context.now_ns()
            yield self._frame(picture, seq, self._pts_ns(seq), captured_ns)

    def _pts_ns(self, seq: int) -> int:
        return round(seq * 1e9 / self.fps)

    def _frame(self, picture: Picture, seq: int, pts_ns: int, captured_ns: int) -> Frame:
        pixels = self.context.allocate((self.height, self.width, 3))
        np.copyto(pixels, picture.pixels)
        ledger = {"captured": captured_ns, "decoded": self.context.now_ns()}
        truth = Truth(picture.boxes, picture.ids, picture.keypoints)
        return Frame(self.camera or label(self), seq, pts_ns, captured_ns, pixels, ledger, truth)
