"""Obstacles in front of the people, standing or moving: posts, boards, bushes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.datasets.synthetic.appearance import Colour
from engines.datasets.synthetic.body import Floats
from engines.datasets.synthetic.figure import Camera, Part, hull

_NEAREST_M: Final = 1.8
_FARTHEST_M: Final = 2.9
"""Nearer than any person walks."""


@dataclass(frozen=True)
class Obstacle:
    """A convex outline (n, 2) m around its foot, y down; ``depth`` m; ``start`` m and ``speed`` m/s along x.

    A moving obstacle starts again after ``span`` m; 0 for a standing one.
    """

    outline: Floats
    colour: Colour
    depth: float
    start: float
    speed: float = 0.0
    span: float = 0.0

    def at(self, time_s: float, camera: Camera) -> Part:
        """The obstacle in the picture."""
        x = self.start + (self.speed * time_s) % self.span - self.span / 2 if self.span else self.start
        corners = np.column_stack([self.outline + np.array([x, 0.0]), np.full(len(self.outline), self.depth)])
        return Part("obstacle", camera.project(corners), self.colour, self.depth)


def random_obstacles(
    rng: np.random.Generator, standing: int, moving: int, camera: Camera, width: int, pace: float = 1.0
) -> list[Obstacle]:
    """``standing`` and ``moving`` obstacles, far to near, spread over a picture ``width`` px wide; ``pace`` scales the
    speed of the moving ones."""
    obstacles = [_standing(rng, camera, width) for _ in range(standing)]
    obstacles += [_moving(rng, camera, width, pace) for _ in range(moving)]
    return sorted(obstacles, key=lambda obstacle: -obstacle.depth)


def _standing(rng: np.random.Generator, camera: Camera, width: int) -> Obstacle:
    depth = float(rng.uniform(_NEAREST_M, _FARTHEST_M))
    half_m = 0.5 * width * depth / camera.focal_px
    wide, high = float(rng.uniform(0.06, 0.3)), float(rng.uniform(0.7, 2.2))
    return Obstacle(_outline(rng, wide, high), _colour(rng), depth, float(rng.uniform(-half_m, half_m)))


def _moving(rng: np.random.Generator, camera: Camera, width: int, pace: float) -> Obstacle:
    depth = float(rng.uniform(_NEAREST_M, _FARTHEST_M))
    half_m = 0.5 * width * depth / camera.focal_px
    wide, high = float(rng.uniform(0.12, 0.5)), float(rng.uniform(0.8, 2.0))
    speed = pace * float(rng.choice([-1, 1]) * rng.uniform(0.7, 2.2))
    # It is outside the picture for about as long as inside.
    span = 2 * (2 * half_m + 2 * wide)
    return Obstacle(_outline(rng, wide, high), _colour(rng), depth, float(rng.uniform(0, span)), speed, span)


def _outline(rng: np.random.Generator, wide: float, high: float) -> Floats:
    """A box or a rounder shape, standing on the ground."""
    if rng.random() < 0.5:
        return np.array([[-wide, 0.0], [wide, 0.0], [0.9 * wide, -high], [-0.9 * wide, -high]])
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    return hull(np.stack([wide * np.cos(angles), -high / 2 + high / 2 * np.sin(angles)], 1))


def _colour(rng: np.random.Generator) -> Colour:
    b, g, r = np.clip(rng.uniform(25, 220) + rng.normal(0, 28, 3), 5, 250)
    return float(b), float(g), float(r)
