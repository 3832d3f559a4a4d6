"""How right a network is on drawn people that nothing was trained on, by what makes them hard to see.

The people and moments are those of the exam of a training, but the network runs as in a line: whole pictures in,
crops, windows and decoding by ``engines.inference.engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.datasets.synthetic.moments import CLIP_S, LEAST_VISIBLE, pictures_about, rng_of, scene_of
from engines.datasets.synthetic.scene import Picture
from engines.inference.engine import Engine, PersonWindows
from engines.metrics import ALPHAS, HIDDEN, VISIBLE, Pck, find_correct
from engines.skeletons import convert

SCENES = 100
"""Of each condition; scenes below 100000 are never trained on."""
MOMENTS = 2
FPS = 15.0

Counts = dict[tuple[float, int], Pck]
"""By (alpha, visibility)."""


@dataclass
class Drawn:
    """Counts of PCK of one network under each of the named conditions; ``people`` judged."""

    counts: dict[Kind, Counts] = field(default_factory=dict)
    people: int = 0

    def pck(self, kind: Kind, alpha: float, visibility: int = VISIBLE) -> float:
        """The share of joints of that visibility within alpha of the box's longer side; NaN where there are none."""
        return float(self.counts[kind][alpha, visibility])

    def mean(self, alpha: float, visibility: int = VISIBLE) -> float:
        """Over the conditions."""
        return float(np.mean([self.pck(kind, alpha, visibility) for kind in self.counts]))


def judge(engine: Engine, scenes: int = SCENES, done: Callable[[], object] = lambda: None) -> Drawn:
    """Score ``engine`` in true boxes; ``done`` is called after each scene. Raises :class:`EngineError`."""
    drawn = Drawn()
    for kind in CONDITIONS:
        counts = {(alpha, seen): Pck() for alpha in ALPHAS for seen in (HIDDEN, VISIBLE)}
        for seed in range(scenes):
            for window, truth in _windows(engine, seed, kind):
                (found,) = engine.estimate([window])
                drawn.people += len(truth)
                _count(counts, found, truth, window.boxes)
            done()
        drawn.counts[kind] = counts
    return drawn


def _windows(engine: Engine, seed: int, kind: Kind) -> Iterator[tuple[PersonWindows, NDArray[np.float32]]]:
    """Everybody seen well enough at the moments of a scene, with their joints in the network's skeleton."""
    signature, rng = engine.signature, rng_of(seed)
    scene = scene_of(seed, kind, rng)
    reach = max(signature.past, signature.future)
    for moment in range(MOMENTS):
        pictures = pictures_about(scene, float(rng.uniform(0, CLIP_S)), moment, 2 * reach + 1, FPS)
        key = pictures[reach]
        rows = (key.keypoints[..., 2] == VISIBLE).sum(1) >= LEAST_VISIBLE
        if rows.any():
            shown = pictures[reach - signature.past : reach + signature.future + 1]
            yield (
                _window(shown, (kind, seed, moment), key, rows),
                convert(key.keypoints[rows], "coco17", signature.skeleton),
            )


def _window(pictures: list[Picture], of: tuple[str, int, int], key: Picture, rows: NDArray[np.bool_]) -> PersonWindows:
    keys = tuple(("-".join(map(str, of)), place) for place in range(len(pictures)))
    return PersonWindows(tuple(picture.pixels for picture in pictures), keys, key.boxes[rows], key.ids[rows])


def _count(counts: Counts, found: NDArray[np.float32], truth: NDArray[np.float32], boxes: NDArray[np.float32]) -> None:
    for alpha, seen in counts:
        judged = truth[..., 2] == seen
        near = find_correct(found, truth, boxes, alpha) & judged
        counts[alpha, seen] += Pck(int(near.sum()), int(judged.sum()))
