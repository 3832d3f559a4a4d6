"""Random appearance of people: colours of clothes, skin and hair, BGR 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

Colour = tuple[float, float, float]

# Fitzpatrick types I to VI, measured on portraits.
_SKINS: Final = ((206, 221, 244), (175, 198, 234), (140, 172, 214), (98, 134, 182), (66, 94, 141), (48, 62, 92))
_HAIRS: Final = ((24, 24, 28), (38, 52, 74), (60, 92, 130), (110, 160, 200), (150, 150, 152), (40, 50, 110))


@dataclass(frozen=True)
class Appearance:
    """One person's colours. ``sleeves`` and ``legs``: the segments of arm and leg that clothes cover, 0..2."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    sleeves: int
    legs: int
    long_hair: bool
    stripes: bool


def random_appearance(rng: np.random.Generator) -> Appearance:
    """The appearance of a random person."""
    return Appearance(
        skin=_vary(rng, _SKINS[rng.integers(len(_SKINS))], 8),
        hair=_vary(rng, _HAIRS[rng.integers(len(_HAIRS))], 10),
        shirt=_cloth(rng),
        trousers=_cloth(rng, dark=0.75),
        shoes=_cloth(rng, dark=0.5),
        sleeves=int(rng.integers(0, 3)),
        legs=int(rng.choice([1, 2, 2, 2])),
        long_hair=bool(rng.random() < 0.4),
        stripes=bool(rng.random() < 0.3),
    )


def _vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    shift = rng.normal(0, spread)
    b, g, r = (float(np.clip(channel + shift, 0, 255)) for channel in colour)
    return b, g, r


def _cloth(rng: np.random.Generator, dark: float = 1.0) -> Colour:
    """A random hue, often grey."""
    value = rng.uniform(30, 235) * dark
    tint = rng.normal(0, 1, 3) * rng.choice([6.0, 45.0])
    b, g, r = (float(channel) for channel in np.clip(value + tint, 8, 245))
    return b, g, r
