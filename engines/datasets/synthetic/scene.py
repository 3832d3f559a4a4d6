"""A scene: people in separate lanes in front of a backdrop, seen by one camera; frames can be rendered in any order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.appearance import Appearance, random_appearance
from engines.datasets.synthetic.backdrop import render_backdrop
from engines.datasets.synthetic.body import COCO, POINTS, SEGMENTS, Floats, Posture, limb_lengths, pose_bodies
from engines.datasets.synthetic.camera_effects import add_noise, blur, compress
from engines.datasets.synthetic.camera_motion import random_handheld
from engines.datasets.synthetic.conditions import Conditions
from engines.datasets.synthetic.figure import Camera, Part, build_parts
from engines.datasets.synthetic.foreground import random_obstacles
from engines.datasets.synthetic.motion import blend
from engines.datasets.synthetic.paths import Lane, Walk
from engines.datasets.synthetic.render import NOTHING, enclosing_box, find_visibility, label, paint

_NEAR_M: Final = 3.4
_LANE_M: Final = 1.0
_FOCUS_S: Final = 1.9
"""The period of changing focus."""


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
    """A person's constant properties: ``height`` m, proportions, appearance, and walk."""

    height: float
    stretch: NDArray[np.float64]
    appearance: Appearance
    walk: Walk
    energy: float


@dataclass(frozen=True)
class _Moment:
    """One exposure: the pixels, the visible part at each pixel, and the posture of all people."""

    pixels: NDArray[np.uint8]
    plane: NDArray[np.int32]
    posture: Posture
    parts: list[list[Part]]
    firsts: list[int]
    camera: Camera


class Scene:
    """``people`` articulated figures, the same for the same ``seed``, ``width``, ``height`` and ``conditions``.

    ``blur`` is an additional Gaussian blur in px; ``noise`` overrides that of the conditions.
    """

    def __init__(
        self,
        seed: int,
        people: int,
        width: int,
        height: int,
        *,
        blur: float = 0.0,
        noise: float | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        self._seed, self._blur = seed, blur
        self.conditions = conditions or Conditions()
        self._noise = self.conditions.noise if noise is None else noise
        self.width, self.height = width, height
        rng = np.random.default_rng([seed, 0x905E])
        self._camera = _camera(rng, width, height)
        hand = np.random.default_rng([seed, 0x5A4E])
        self._hand = random_handheld(hand, self.conditions.pan * width, self.conditions.shake * width)
        edge = self._hand.reach
        self._backdrop = render_backdrop(rng, width + 2 * edge, height + 2 * edge, self._camera.centre[1] + edge)
        self._people = [
            _person(np.random.default_rng([seed, index, 0xB0D1]), index, self.conditions) for index in range(people)
        ]
        self._light = float(rng.uniform(0.85, 1.1))
        self._obstacles = random_obstacles(
            np.random.default_rng([seed, 0xF02E]),
            self.conditions.obstacles,
            self.conditions.moving_obstacles,
            self._camera,
            width,
            self.conditions.obstacle_pace,
        )

    def at(self, time_s: float, number: int = 0) -> Picture:
        """The picture whose exposure is centred at ``time_s``, with the ground truth of that moment.

        ``number`` seeds its noise.
        """
        middle = self._moment(time_s)
        pixels = self._apply_camera(self._expose(time_s, middle), time_s, number)
        return self._annotate(pixels, middle) if self._people else _empty(pixels)

    def truth_at(self, time_s: float) -> Picture:
        """The ground truth of :meth:`at`, with sharp pixels without noise. Camera effects take up to nine tenths of the
        time of :meth:`at`."""
        moment = self._moment(time_s)
        return self._annotate(moment.pixels, moment) if self._people else _empty(moment.pixels)

    def _expose(self, time_s: float, middle: _Moment) -> NDArray[np.uint8]:
        """The mean over the moments of the exposure."""
        count = self.conditions.exposures
        if count == 1 or not self.conditions.shutter_s:
            return middle.pixels
        offsets = (np.arange(count) + 0.5) / count - 0.5
        total = np.zeros(middle.pixels.shape, np.float32)
        for offset in offsets:
            total += self._moment(time_s + float(offset) * self.conditions.shutter_s).pixels
        return np.rint(total / count).astype(np.uint8)

    def _moment(self, time_s: float) -> _Moment:
        right, down = self._hand.at(time_s)
        camera = replace(self._camera, centre=(self._camera.centre[0] + right, self._camera.centre[1] + down))
        posture = self._posture(time_s * self.conditions.pace)
        parts = [
            build_parts(posture, i, person.height, person.appearance, camera) for i, person in enumerate(self._people)
        ]
        pixels, plane, firsts = self._paint(parts, posture, (right, down))
        obstacles = [obstacle.at(time_s, camera) for obstacle in self._obstacles]
        paint(pixels, obstacles, self._light)
        label(plane, obstacles, NOTHING - len(obstacles))  # negative: no person's numbers
        return _Moment(pixels, plane, posture, parts, firsts, camera)

    def _shift_backdrop(self, moved: tuple[float, float]) -> NDArray[np.uint8]:
        """The backdrop, displaced by the motion of the camera."""
        edge = self._hand.reach
        if not edge:
            return self._backdrop.copy()
        shift = np.array([[1, 0, moved[0] - edge], [0, 1, moved[1] - edge]])
        return np.asarray(cv2.warpAffine(self._backdrop, shift, (self.width, self.height)), np.uint8)

    def _posture(self, time_s: float) -> Posture:
        if not self._people:
            return _NO_POSTURE
        moments = [person.walk.at(time_s) for person in self._people]

        def column(name: str) -> Floats:
            return np.array([getattr(moment, name) for moment in moments], np.float64)

        heights = np.array([p.height for p in self._people])
        clock = np.asarray(time_s + 1.7 * np.arange(len(moments)), np.float64)
        angles = blend(
            column("phase"),
            np.array([p.energy for p in self._people]),
            column("walking"),
            column("activity").astype(np.int64),
            clock,
            np.array([m.draws for m in moments], np.float64),
        )
        feet = np.stack([column("x"), np.zeros(len(moments)), column("z")], 1)
        lengths = limb_lengths(heights, np.stack([p.stretch for p in self._people]))
        return pose_bodies(angles, column("heading"), feet, heights, lengths)

    def _paint(
        self, parts: list[list[Part]], posture: Posture, moved: tuple[float, float]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32], list[int]]:
        pixels = self._shift_backdrop(moved)
        plane = np.full((self.height, self.width), NOTHING, np.int32)
        firsts = [1 + 64 * i for i in range(len(parts))]
        for i in np.argsort([-posture.points[i, :, 2].mean() for i in range(len(parts))]):
            paint(pixels, parts[i], self._light)
            label(plane, parts[i], firsts[i])
        return pixels, plane, firsts

    def _apply_camera(self, pixels: NDArray[np.uint8], time_s: float, number: int) -> NDArray[np.uint8]:
        focus = 0.5 - 0.5 * np.cos(2 * np.pi * time_s / _FOCUS_S + self._seed)
        blurred = blur(blur(pixels, self._blur), self.conditions.defocus * float(focus))
        return compress(add_noise(blurred, self._noise, self._seed * 1_000_003 + number), self.conditions.quality)

    def _annotate(self, pixels: NDArray[np.uint8], moment: _Moment) -> Picture:
        flat = moment.camera.project(moment.posture.points[:, : len(COCO)])
        rows = []
        for i, parts in enumerate(moment.parts):
            depths = moment.posture.points[i, : len(COCO), 2]
            visibility = find_visibility(moment.plane, flat[i], depths, parts, moment.firsts[i])
            box = enclosing_box(parts, self.width, self.height)
            if (box[2:] - box[:2]).min() > 1:
                rows.append((box, i + 1, np.column_stack([flat[i], visibility])))
        return Picture(
            pixels,
            np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
            np.array([number for _, number, _ in rows], np.int64),
            np.array([joints for _, _, joints in rows], np.float32).reshape(-1, len(COCO), 3),
        )


_NO_POSTURE: Final = Posture(np.zeros((0, len(POINTS), 3)), np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))


def _empty(pixels: NDArray[np.uint8]) -> Picture:
    joints = np.zeros((0, len(COCO), 3), np.float32)
    return Picture(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), joints)


def _camera(rng: np.random.Generator, width: int, height: int) -> Camera:
    return Camera(
        focal_px=height * float(rng.uniform(1.25, 1.5)),
        centre=(width / 2, height * float(rng.uniform(0.38, 0.48))),
        eye_m=float(rng.uniform(1.3, 1.7)),
    )


def _person(rng: np.random.Generator, index: int, conditions: Conditions) -> Person:
    height = float(rng.normal(1.72, 0.09))
    near = _NEAR_M + index * (_LANE_M + conditions.gap_m)
    lane = Lane(near, near + _LANE_M, conditions.reach)
    return Person(
        height,
        rng.normal(1.0, 0.04, SEGMENTS),
        random_appearance(rng),
        Walk(rng, lane, 0.49 * height),
        float(rng.normal(1.0, 0.1)),
    )
