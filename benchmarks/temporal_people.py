"""The people of :mod:`benchmarks.temporal`: sets to test on, windows to train on, and how joints are counted.

Two sets are of joints that one frame cannot know:

* ``hidden``: obstacles pass at 2.8 to 8.8 m/s. Counted are joints that an obstacle or a limb hides
  in the key frame and that are visible 67 ms before and after it, so that they are hidden for about 100 ms.
* ``streaked``: people move three times as fast as usual under a shutter of 60 ms. Counted are visible joints whose
  streak is longer than a forearm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS, Conditions
from engines.metrics import HIDDEN, VISIBLE
from engines.training.batches import WindowSamples
from engines.training.clip_cache import load_or_render
from engines.training.synthetic_samples import Tracks, TrackSettings, concatenate

ALPHAS: Final = (0.05, 0.1, 0.2)
FRAMES: Final = 5
FOREARM: Final = 0.146
"""Of a person's height: Drillis and Contini (1966)."""
PASSING: Final = Conditions(moving_obstacles=6, obstacle_pace=4.0, noise=3.0, quality=70)
STREAKED: Final = Conditions(shutter_s=0.06, exposures=13, pace=3.0, noise=3.0, quality=70)


@dataclass(frozen=True)
class TestSet:
    """Scenes under ``conditions``, filmed at ``fps``."""

    conditions: Conditions
    fps: float = 15.0
    scenes: int = 20


SETS: Final[dict[str, TestSet]] = {
    **{str(kind): TestSet(conditions) for kind, conditions in CONDITIONS.items()},
    "10 a second": TestSet(Conditions(), fps=10.0),
    "5 a second": TestSet(Conditions(), fps=5.0),
    "fast": TestSet(Conditions(pace=3.0)),
    "hidden": TestSet(PASSING, scenes=60),
    "streaked": TestSet(STREAKED, scenes=30),
}
TRAINING: Final[tuple[tuple[Conditions | None, float], ...]] = ((None, 0.625), (PASSING, 0.25), (STREAKED, 0.125))
"""Conditions (None: those of the recipes) and the share of the windows that are trained on."""
PER_SCENE: Final = 12
"""Windows of a scene; with six moments it has about twenty."""
FIRST_SCENE: Final = 100_000


def held_out_tracks(name: str, size: tuple[int, int], one: TestSet | None = None) -> Tracks:
    """The people of a test set, in true boxes; (width, height) px of a crop."""
    one = one or SETS[name]
    settings = TrackSettings(size=size, frames=FRAMES, moments=2, fps=one.fps, kind=one.conditions, jitter=False)
    return load_or_render(range(one.scenes), settings, 1, lambda: None)


def training_tracks(seed: int, number: int, size: tuple[int, int]) -> Tracks:
    """``number`` people to train on, drawn by ``seed``."""
    rng = np.random.default_rng([seed, 0x7E4])
    parts = []
    for conditions, share in TRAINING:
        windows = round(share * number)
        settings = TrackSettings(size=size, frames=FRAMES, moments=6, kind=conditions)
        scenes = range(FIRST_SCENE, FIRST_SCENE + -(-windows // PER_SCENE))
        tracks = load_or_render(scenes, settings, 1, lambda: None)
        rows = np.sort(rng.permutation(len(tracks))[:windows])
        parts.append(
            replace(tracks, pictures=tracks.pictures[rows], joints=tracks.joints[rows], sizes=tracks.sizes[rows])
        )
    return concatenate(parts)


def count_joints(objective: Any, tracks: Tracks, shown: tuple[int, ...], conditions: Conditions) -> dict[str, Any]:
    """How many joints there are and how many are found within each alpha of the longer side of the person's box:
    visible ones, hidden ones, and those that one frame cannot know."""
    from engines.training.validation import predict

    samples = WindowSamples(tracks, shown)
    near = []
    for start in range(0, len(tracks), 32):
        rows = np.arange(start, min(start + 32, len(tracks)))
        found, _ = predict(objective, samples.batch(rows, None, np.random.default_rng(0)).crops)
        truth = tracks.joints[rows, FRAMES // 2, :, :2]
        near.append(np.hypot(*np.moveaxis(found - truth, -1, 0)) / tracks.sizes[rows, None])
    distances = np.concatenate(near)
    return {
        name: {"joints": int(chosen.sum()), **{str(a): int((distances[chosen] <= a).sum()) for a in ALPHAS}}
        for name, chosen in select_joints(tracks, conditions).items()
    }


def select_joints(tracks: Tracks, conditions: Conditions) -> dict[str, NDArray[np.bool_]]:
    """Which joints (S, 17) are visible, hidden, and not to be known from one frame."""
    key = FRAMES // 2
    before, seen, after = (tracks.joints[:, key + step, :, 2] for step in (-1, 0, 1))
    if conditions.shutter_s:
        unknown = (seen == VISIBLE) & (streaks(tracks, conditions.shutter_s) >= FOREARM)
    else:
        unknown = (seen == HIDDEN) & (before == VISIBLE) & (after == VISIBLE)
    return {"visible": seen == VISIBLE, "hidden": seen == HIDDEN, "unknown": unknown}


def streaks(tracks: Tracks, shutter_s: float, fps: float = 15.0) -> NDArray[np.float64]:
    """The way (S, 17) of each joint while the shutter is open, as a share of the longer side of the person's box."""
    key = FRAMES // 2
    way = tracks.joints[:, key + 1, :, :2] - tracks.joints[:, key - 1, :, :2]
    speed = np.hypot(way[..., 0], way[..., 1]) * fps / 2  # px/s
    return np.asarray(speed * shutter_s / tracks.sizes[:, None], np.float64)
