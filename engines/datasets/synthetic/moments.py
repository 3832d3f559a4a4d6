"""A few frames about a moment of a scene: what windows of drawn people are made of, for training and for judging."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.datasets.synthetic.conditions import CONDITIONS, Kind, draw_conditions
from engines.datasets.synthetic.scene import Picture, Scene

CLIP_S: Final = 240.0
"""Moments lie within this time."""
LEAST_VISIBLE: Final = 4
"""Somebody of whom less joints are visible is nobody to learn from, nor to be judged by."""
_SIZES: Final = ((480, 360), (400, 300), (512, 288))
_PEOPLE: Final = (2, 6)


def scene_of(seed: int, kind: Kind | None, rng: np.random.Generator) -> Scene:
    """The scene of a seed under the named conditions, or under any; ``rng`` draws its size and who is in it."""
    width, height = _SIZES[rng.integers(len(_SIZES))]
    conditions = CONDITIONS[kind] if kind else draw_conditions(rng)
    return Scene(seed, int(rng.integers(*_PEOPLE)), width, height, conditions=conditions)


def rng_of(seed: int) -> np.random.Generator:
    """What decides all that a seed does not decide by itself."""
    return np.random.default_rng([seed, 0x7AC4])


def pictures_about(scene: Scene, middle_s: float, moment: int, frames: int, fps: float) -> list[Picture]:
    """``frames`` pictures, the middle one at ``middle_s``; ``moment`` counts the scene's, since grain differs."""
    times = [middle_s + (place - frames // 2) / fps for place in range(frames)]
    return [scene.at(time_s, moment * frames + place) for place, time_s in enumerate(times)]
