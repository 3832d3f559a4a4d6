"""How hard a scene is to see: everything between "a clear day" and what real cameras give.

Numbers are given once for a whole scene; what they do at each moment follows from its seed. ``CONDITIONS`` names the
four that the held-out test judges apart, and :func:`draw_conditions` mixes all of it for training.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

Kind = Literal["easy", "blurred", "occluded", "crossing"]


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The knobs.

    ``shutter_s``: how long each picture is exposed, averaged over ``exposures`` moments. ``pace`` speeds up what people
    do. ``pan`` and ``shake``: how far the camera turns to either side and trembles, in parts of the width. ``defocus``
    px (sigma at its worst; focus comes and goes). ``noise`` grey levels (sigma). ``quality`` of JPEG, 0 for none.
    ``things`` stand still before the people; ``passers`` things move through the picture before them. ``gap_m`` is what
    lies between the lanes people walk in; ``reach`` how far they go to either side, in parts of their distance.
    """

    shutter_s: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    exposures: Annotated[int, Meta(ge=1, le=33)] = 1
    pace: Annotated[float, Meta(gt=0, le=5)] = 1.0
    pan: Annotated[float, Meta(ge=0, le=0.3)] = 0.0
    shake: Annotated[float, Meta(ge=0, le=0.05)] = 0.0
    defocus: Annotated[float, Meta(ge=0, le=20)] = 0.0
    noise: Annotated[float, Meta(ge=0, le=60)] = 2.0
    quality: Annotated[int, Meta(ge=0, le=100)] = 0
    things: Annotated[int, Meta(ge=0, le=12)] = 0
    passers: Annotated[int, Meta(ge=0, le=6)] = 0
    gap_m: Annotated[float, Meta(ge=0, le=3)] = 0.5
    reach: Annotated[float, Meta(gt=0, le=1)] = 0.42


CONDITIONS: Final[dict[Kind, Conditions]] = {
    "easy": Conditions(),
    "blurred": Conditions(
        shutter_s=0.045, exposures=7, pace=1.6, pan=0.06, shake=0.008, defocus=1.6, noise=5.0, quality=45
    ),
    "occluded": Conditions(things=4, passers=3, noise=3.0, quality=70),
    "crossing": Conditions(gap_m=0.0, reach=0.2, pace=1.2, noise=3.0, quality=70),
}
"""By name. In ``blurred`` a hand that waves at 2 m/s leaves a streak of 9 cm."""


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """Any weather: each hardship in about half of the scenes, at worst as in the named conditions."""
    blurred, moved, occluded, crossing = rng.random(4) < 0.5
    shutter_s = float(rng.uniform(0.01, 0.05)) if blurred else 0.0
    return Conditions(
        shutter_s=shutter_s,
        exposures=1 + 2 * round(60 * shutter_s),
        pace=float(rng.uniform(0.8, 1.8)),
        pan=float(rng.uniform(0, 0.08)) if moved else 0.0,
        shake=float(rng.uniform(0, 0.01)) if moved else 0.0,
        defocus=float(rng.uniform(0, 2.0)) if blurred else 0.0,
        noise=float(rng.uniform(0, 8)),
        quality=int(rng.integers(30, 96)) if rng.random() < 0.7 else 0,
        things=int(rng.integers(1, 6)) if occluded else 0,
        passers=int(rng.integers(0, 4)) if occluded else 0,
        gap_m=0.0 if crossing else 0.5,
        reach=float(rng.uniform(0.18, 0.42)) if crossing else 0.42,
    )
