"""PCK on held-out synthetic people, under each condition that makes them hard to see.

People and moments are those of the validation during training, but the network runs as in a pipeline: whole pictures
in; crops, windows and decoding by ``engines.inference.engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.datasets.synthetic.moments import CLIP_S, MIN_VISIBLE, create_rng, create_scene, render_moment
from engines.datasets.synthetic.scene import Picture
from engines.inference.engine import Engine, PersonWindows
from engines.metrics import ALPHAS, HIDDEN, VISIBLE, Pck, find_correct
from engines.skeletons import convert

SCENES = 100
"""For each condition; scenes below 100000 are never trained on."""
MOMENTS = 2
FPS = 15.0

Counts = dict[tuple[float, int], Pck]
"""PCK counts by (alpha, visibility)."""


def zero_counts() -> Counts:
    """Counts of 0 for every alpha and visibility."""
    return {(alpha, visibility): Pck() for alpha in ALPHAS for visibility in (HIDDEN, VISIBLE)}


def count_near(counts: Counts, is_near: Callable[[float], NDArray[np.bool_]], visibility: NDArray[np.float32]) -> None:
    """Add joints (N, K) to ``counts``; ``is_near(alpha)`` says which of them are within alpha."""
    for alpha, seen in counts:
        judged = visibility == seen
        counts[alpha, seen] += Pck(int((is_near(alpha) & judged).sum()), int(judged.sum()))


@dataclass
class SyntheticScores:
    """PCK counts of one network under each condition; ``people`` is how many were scored."""

    counts: dict[Kind, Counts] = field(default_factory=dict)
    people: int = 0

    def pck(self, kind: Kind, alpha: float, visibility: int = VISIBLE) -> float:
        """The share of joints of that visibility within alpha of the box's longer side; NaN if there are none."""
        return float(self.counts[kind][alpha, visibility])

    def mean(self, alpha: float, visibility: int = VISIBLE) -> float:
        """The mean over the conditions."""
        return float(np.mean([self.pck(kind, alpha, visibility) for kind in self.counts]))


def evaluate_synthetic(
    engine: Engine,
    scenes: int = SCENES,
    on_scene: Callable[[], object] = lambda: None,
    lookahead: int | None = None,
) -> SyntheticScores:
    """Score ``engine`` in true boxes; calls ``on_scene`` after each scene. Raises :class:`EngineError`.

    Of the frames after the key frame it is shown ``lookahead``, if given; the newest takes the place of the others, as
    with ``pose lookahead=``.
    """
    scores = SyntheticScores()
    for kind in CONDITIONS:
        counts = scores.counts[kind] = zero_counts()
        for seed in range(scenes):
            for window, truth in _render_windows(engine, seed, kind):
                (found,) = engine.estimate([_without_future(window, engine, lookahead)])
                scores.people += len(truth)
                _count(counts, found, truth, window.boxes)
            on_scene()
    return scores


def _render_windows(engine: Engine, seed: int, kind: Kind) -> Iterator[tuple[PersonWindows, NDArray[np.float32]]]:
    """The people with enough visible joints at each moment of a scene, and their joints in the network's skeleton."""
    signature, rng = engine.signature, create_rng(seed)
    scene = create_scene(seed, kind, rng)
    reach = max(signature.past, signature.future)
    for moment in range(MOMENTS):
        pictures = render_moment(scene, float(rng.uniform(0, CLIP_S)), moment, 2 * reach + 1, FPS)
        key = pictures[reach]
        rows = (key.keypoints[..., 2] == VISIBLE).sum(1) >= MIN_VISIBLE
        if rows.any():
            window = pictures[reach - signature.past : reach + signature.future + 1]
            truth = convert(key.keypoints[rows], "coco17", signature.skeleton)
            yield _window(window, (kind, seed, moment), key, rows), truth


def _without_future(window: PersonWindows, engine: Engine, lookahead: int | None) -> PersonWindows:
    newest = engine.signature.frames - 1 if lookahead is None else engine.signature.past + lookahead
    order = [min(index, newest) for index in range(len(window.frames))]
    return replace(
        window,
        frames=tuple(window.frames[index] for index in order),
        keys=tuple(window.keys[index] for index in order),
    )


def _window(
    pictures: list[Picture], name: tuple[str, int, int], key: Picture, rows: NDArray[np.bool_]
) -> PersonWindows:
    keys = tuple(("-".join(map(str, name)), index) for index in range(len(pictures)))
    return PersonWindows(tuple(picture.pixels for picture in pictures), keys, key.boxes[rows], key.ids[rows])


def _count(counts: Counts, found: NDArray[np.float32], truth: NDArray[np.float32], boxes: NDArray[np.float32]) -> None:
    count_near(counts, lambda alpha: find_correct(found, truth, boxes, alpha), truth[..., 2])
