"""Conditions that make a scene hard to see: blur, noise, occlusion and crossing people.

They are set once for a scene; their effect at each moment follows from its seed. ``CONDITIONS`` are the four kinds of
held-out scenes that are scored separately; :func:`random_conditions` mixes them for training.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

Kind = Literal["easy", "blurred", "occluded", "crossing"]


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The conditions of a scene.

    ``shutter_s`` is the exposure time, averaged over ``exposures`` moments. ``pace`` scales the speed of people.
    ``pan`` and ``shake`` are the camera's amplitudes as shares of the width. ``defocus`` px (the largest sigma; it
    varies over time). ``noise`` grey levels (sigma). ``quality`` of JPEG, 0 for none. ``obstacles`` stand in front of
    the people, ``moving_obstacles`` move through the picture in front of them, at 0.7 to 2.2 m/s times
    ``obstacle_pace``. ``gap_m`` is the distance between the lanes in which people walk; ``reach`` how far they walk to
    either side, as a share of their distance.
    """

    shutter_s: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    exposures: Annotated[int, Meta(ge=1, le=33)] = 1
    pace: Annotated[float, Meta(gt=0, le=5)] = 1.0
    pan: Annotated[float, Meta(ge=0, le=0.3)] = 0.0
    shake: Annotated[float, Meta(ge=0, le=0.05)] = 0.0
    defocus: Annotated[float, Meta(ge=0, le=20)] = 0.0
    noise: Annotated[float, Meta(ge=0, le=60)] = 2.0
    quality: Annotated[int, Meta(ge=0, le=100)] = 0
    obstacles: Annotated[int, Meta(ge=0, le=12)] = 0
    moving_obstacles: Annotated[int, Meta(ge=0, le=6)] = 0
    obstacle_pace: Annotated[float, Meta(gt=0, le=10)] = 1.0
    gap_m: Annotated[float, Meta(ge=0, le=3)] = 0.5
    reach: Annotated[float, Meta(gt=0, le=1)] = 0.42


CONDITIONS: Final[dict[Kind, Conditions]] = {
    "easy": Conditions(),
    "blurred": Conditions(
        shutter_s=0.045, exposures=7, pace=1.6, pan=0.06, shake=0.008, defocus=1.6, noise=5.0, quality=45
    ),
    "occluded": Conditions(obstacles=4, moving_obstacles=3, noise=3.0, quality=70),
    "crossing": Conditions(gap_m=0.0, reach=0.2, pace=1.2, noise=3.0, quality=70),
}
"""Conditions by name. In ``blurred`` a hand that waves at 2 m/s leaves a streak of 9 cm."""


def random_conditions(rng: np.random.Generator) -> Conditions:
    """Random conditions: each difficulty in about half of the scenes, at most about as strong as in the named ones."""
    blurred, camera_moves, occluded, crossing = rng.random(4) < 0.5
    shutter_s = float(rng.uniform(0.01, 0.05)) if blurred else 0.0
    return Conditions(
        shutter_s=shutter_s,
        exposures=1 + 2 * round(60 * shutter_s),
        pace=float(rng.uniform(0.8, 1.8)),
        pan=float(rng.uniform(0, 0.08)) if camera_moves else 0.0,
        shake=float(rng.uniform(0, 0.01)) if camera_moves else 0.0,
        defocus=float(rng.uniform(0, 2.0)) if blurred else 0.0,
        noise=float(rng.uniform(0, 8)),
        quality=int(rng.integers(30, 96)) if rng.random() < 0.7 else 0,
        obstacles=int(rng.integers(1, 6)) if occluded else 0,
        moving_obstacles=int(rng.integers(0, 4)) if occluded else 0,
        gap_m=0.0 if crossing else 0.5,
        reach=float(rng.uniform(0.18, 0.42)) if crossing else 0.42,
    )
