"""A scene: some people, each in a lane of their own, before a backdrop, seen by one camera. Any frame, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.people.backdrop import backdrop
from engines.people.body import COCO, SEGMENTS, Floats, Posture, bend, limb_lengths
from engines.people.figure import Camera, Part, parts_of
from engines.people.looks import Looks, draw_looks
from engines.people.motion import blend
from engines.people.paths import Lane, Walk
from engines.people.render import NOTHING, box_of, label, paint, visibility

_NEAR_M: Final = 3.4
_LANE_M: Final = 1.0
_GAP_M: Final = 0.5


@dataclass(frozen=True)
class Picture:
    """``pixels`` (H, W, 3) uint8 BGR; for each person in it ``boxes`` (N, 4) float32 px, ``ids`` (N,) int64 and
    ``keypoints`` (N, 17, 3) float32: x, y px and visibility (0 outside, 1 hidden, 2 visible)."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class Person:
    """What stays the same of somebody: ``height`` m, proportions, looks, and where they walk."""

    height: float
    stretch: NDArray[np.float64]
    looks: Looks
    walk: Walk
    energy: float


class Scene:
    """``people`` articulated figures, the same for the same ``seed``, ``width`` and ``height``.

    ``blur`` and ``noise`` make it harder: px of Gaussian blur, and grey levels of noise.
    """

    def __init__(
        self, seed: int, people: int, width: int, height: int, *, blur: float = 0.0, noise: float = 2.0
    ) -> None:
        self._seed, self._blur, self._noise = seed, blur, noise
        self.width, self.height = width, height
        rng = np.random.default_rng([seed, 0x905E])
        self._camera = _camera(rng, width, height)
        self._backdrop = backdrop(rng, width, height, self._camera.centre[1])
        self._people = [_person(np.random.default_rng([seed, place, 0xB0D1]), place) for place in range(people)]
        self._light = float(rng.uniform(0.85, 1.1))

    def at(self, time_s: float, number: int = 0) -> Picture:
        """The picture at ``time_s``; ``number`` seeds its noise."""
        if not self._people:
            return _empty(self._develop(self._backdrop.copy(), number))
        posture = self._posture(time_s)
        drawn = [
            parts_of(posture, i, person.height, person.looks, self._camera) for i, person in enumerate(self._people)
        ]
        order = np.argsort([-posture.points[i, :, 2].mean() for i in range(len(drawn))])
        pixels, plane, firsts = self._paint(drawn, order)
        return self._told(self._develop(pixels, number), plane, posture, drawn, firsts)

    def _posture(self, time_s: float) -> Posture:
        moments = [person.walk.at(time_s) for person in self._people]

        def column(name: str) -> Floats:
            return np.array([getattr(moment, name) for moment in moments], np.float64)

        heights = np.array([p.height for p in self._people])
        clock = np.asarray(time_s + 1.7 * np.arange(len(moments)), np.float64)
        angles = blend(
            column("phase"),
            np.array([p.energy for p in self._people]),
            column("walking"),
            column("doing").astype(np.int64),
            clock,
            np.array([m.draws for m in moments], np.float64),
        )
        feet = np.stack([column("x"), np.zeros(len(moments)), column("z")], 1)
        lengths = limb_lengths(heights, np.stack([p.stretch for p in self._people]))
        return bend(angles, column("heading"), feet, heights, lengths)

    def _paint(
        self, drawn: list[list[Part]], order: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32], list[int]]:
        pixels = self._backdrop.copy()
        plane = np.full((self.height, self.width), NOTHING, np.int32)
        firsts = [1 + 64 * i for i in range(len(drawn))]
        for i in order:
            paint(pixels, drawn[i], self._light)
            label(plane, drawn[i], firsts[i])
        return pixels, plane, firsts

    def _develop(self, pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        if self._blur > 0:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), self._blur), np.uint8)
        if self._noise > 0:
            # One channel a row of 3 W numbers: OpenCV reads a mean of one number for one channel only.
            grain = np.empty((self.height, 3 * self.width), np.int16)
            cv2.setRNGSeed((self._seed * 1_000_003 + number) & 0x7FFFFFFF)
            cv2.randn(grain, np.zeros(1), np.full(1, self._noise))
            pixels = np.asarray(cv2.add(pixels, grain.reshape(pixels.shape), dtype=cv2.CV_8U), np.uint8)
        return pixels

    def _told(
        self,
        pixels: NDArray[np.uint8],
        plane: NDArray[np.int32],
        posture: Posture,
        drawn: list[list[Part]],
        firsts: list[int],
    ) -> Picture:
        flat = self._camera.project(posture.points[:, : len(COCO)])
        rows = []
        for i, parts in enumerate(drawn):
            seen = visibility(plane, flat[i], posture.points[i, : len(COCO), 2], parts, firsts[i])
            box = box_of(parts, self.width, self.height)
            if (box[2:] - box[:2]).min() > 1:
                rows.append((box, i + 1, np.column_stack([flat[i], seen])))
        return Picture(
            pixels,
            np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
            np.array([number for _, number, _ in rows], np.int64),
            np.array([joints for _, _, joints in rows], np.float32).reshape(-1, len(COCO), 3),
        )


def _empty(pixels: NDArray[np.uint8]) -> Picture:
    joints = np.zeros((0, len(COCO), 3), np.float32)
    return Picture(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), joints)


def _camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    return Camera(
        focal_px=height * float(rng.uniform(1.25, 1.5)),
        centre=(width / 2, height * float(rng.uniform(0.38, 0.48))),
        eye_m=float(rng.uniform(1.3, 1.7)),
    )


def _person(rng: np.random.Generator, place: int) -> Person:
    height = float(rng.normal(1.72, 0.09))
    near = _NEAR_M + place * (_LANE_M + _GAP_M)
    lane = Lane(near, near + _LANE_M, 0.42)
    return Person(
        height,
        rng.normal(1.0, 0.04, SEGMENTS),
        draw_looks(rng),
        Walk(rng, lane, 0.49 * height),
        float(rng.normal(1.0, 0.1)),
    )
