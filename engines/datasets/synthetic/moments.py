"""A few frames around a moment of a scene, from which windows are made for training and evaluation."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.datasets.synthetic.conditions import CONDITIONS, Conditions, Kind, random_conditions
from engines.datasets.synthetic.scene import Picture, Scene

CLIP_S: Final = 240.0
"""Moments are within this time."""
MIN_VISIBLE: Final = 4
"""People with fewer visible joints are left out of training and evaluation."""
_SIZES: Final = ((480, 360), (400, 300), (512, 288))
_PEOPLE: Final = (2, 6)


def create_scene(seed: int, kind: Kind | Conditions | None, rng: np.random.Generator) -> Scene:
    """The scene of a seed under these conditions, or random ones; ``rng`` draws its size and number of people."""
    width, height = _SIZES[rng.integers(len(_SIZES))]
    if kind is None:
        conditions = random_conditions(rng)
    else:
        conditions = kind if isinstance(kind, Conditions) else CONDITIONS[kind]
    return Scene(seed, int(rng.integers(*_PEOPLE)), width, height, conditions=conditions)


def create_rng(seed: int) -> np.random.Generator:
    """The generator of everything about a seed's moments that its scene does not determine."""
    return np.random.default_rng([seed, 0x7AC4])


def render_moment(scene: Scene, middle_s: float, moment: int, frames: int, fps: float) -> list[Picture]:
    """``frames`` pictures, the middle one at ``middle_s``; ``moment`` is its number, which seeds the noise."""
    times = [middle_s + (index - frames // 2) / fps for index in range(frames)]
    return [scene.at(time_s, moment * frames + index) for index, time_s in enumerate(times)]
