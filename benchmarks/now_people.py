"""The people of :mod:`benchmarks.now`: windows to train on, and tracks to test on, long enough to forecast from.

A test track is a person at 30 frames a second: :data:`HISTORY` frames before the key frame, the key frame and
:data:`FURTHEST` after it. Each frame up to the key frame is cropped by its own true box, as a line crops it, together
with the two frames before it in the same crop, which are what networks of a window see. Of the frames after the key
frame only joints are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS, Conditions
from engines.datasets.synthetic.moments import CLIP_S, MIN_VISIBLE, create_rng, create_scene
from engines.datasets.synthetic.scene import Picture, Scene
from engines.metrics import VISIBLE
from engines.training.clip_cache import cache_path, load_or_make, load_or_render
from engines.training.synthetic_samples import Tracks, TrackSettings, box_affine, concatenate
from engines.vision import crop

FPS: Final = 30.0
HISTORY: Final = 10
FURTHEST: Final = 3
"""Frames after the key frame: 100 ms."""
PAST: Final = 2
"""Frames before each frame that share its crop."""
MOMENTS: Final = 2
FAST: Final = Conditions(pace=3.0)
TURNING: Final = Conditions(pace=1.2, reach=0.2)
TURNED: Final = 0.05
"""People count as turning if the extent of shoulders or hips along x changes by this share of their size in 200 ms."""
SETS: Final[dict[str, tuple[Conditions, int]]] = {
    "easy": (CONDITIONS["easy"], 20),
    "blurred": (CONDITIONS["blurred"], 20),
    "occluded": (CONDITIONS["occluded"], 20),
    "fast": (FAST, 20),
    "turning": (TURNING, 60),
}
"""Conditions and the number of scenes of each set."""
TRAINING: Final[tuple[tuple[Conditions | None, float, int], ...]] = ((None, 0.75, 64), (FAST, 0.25, 22))
"""Conditions (None: those of the recipes), the share of the windows that are trained on, and the scenes they are of."""
FIRST_SCENE: Final = 100_000
_FIELDS: Final = {"crops": np.uint8, "affines": np.float64, "sizes": np.float64, "joints": np.float32}
_LEFT_RIGHT: Final = ((5, 6), (11, 12))


@dataclass(frozen=True)
class LongTracks:
    """S people. ``crops`` (S, HISTORY + 1, PAST + 1, h, w, 3) uint8 BGR: frame t, oldest first, after the frames before
    it, in the crop of frame t. ``affines`` (S, HISTORY + 1, 2, 3): from that crop to the key frame's. ``sizes`` (S,
    HISTORY + 1): the longer side of the box, px of the key frame's crop. ``joints`` (S, FURTHEST + 1, 17, 3): of the
    key frame and those after it, px of the key frame's crop, and visibility."""

    crops: NDArray[np.uint8]
    affines: NDArray[np.float64]
    sizes: NDArray[np.float64]
    joints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def frames(self) -> int:
        """Frames up to the key frame."""
        return self.crops.shape[1]


def training_tracks(seed: int, number: int, size: tuple[int, int]) -> Tracks:
    """``number`` people to train on, drawn by ``seed``; (width, height) px of a crop."""
    rng = np.random.default_rng([seed, 0x0707])
    settings = TrackSettings(size=size, frames=2 * FURTHEST + 1, moments=6, fps=FPS)
    parts = []
    for conditions, share, scenes in TRAINING:
        seeds = range(FIRST_SCENE, FIRST_SCENE + scenes)
        tracks = load_or_render(seeds, replace(settings, kind=conditions), 1, lambda: None)
        rows = np.sort(rng.permutation(len(tracks))[: round(share * number)])
        parts.append(
            replace(tracks, pictures=tracks.pictures[rows], joints=tracks.joints[rows], sizes=tracks.sizes[rows])
        )
    return concatenate(parts)


@dataclass(frozen=True)
class _Settings:
    """What determines the tracks of a test set; by these they are cached."""

    size: tuple[int, int]
    conditions: Conditions
    turned: float
    fps: float = FPS
    frames: tuple[int, int, int] = (HISTORY, FURTHEST, PAST)
    moments: int = MOMENTS


def held_out_tracks(name: str, size: tuple[int, int]) -> LongTracks:
    """The people of a test set; (width, height) px of a crop."""
    conditions, scenes = SETS[name]
    settings = _Settings(size, conditions, TURNED if name == "turning" else 0.0)
    folder = cache_path(range(scenes), settings)
    return LongTracks(**load_or_make(folder, _FIELDS, lambda: _render(range(scenes), settings)))


def _render(seeds: Sequence[int], settings: _Settings) -> Iterator[LongTracks]:
    """The people of each moment one by one."""
    for seed in seeds:
        rng = create_rng(seed)
        scene = create_scene(seed, settings.conditions, rng)
        for moment in range(settings.moments):
            middle_s = float(rng.uniform(1, CLIP_S))
            if chosen := _choose(scene, middle_s, settings):
                yield from _render_moment(scene, middle_s, moment, chosen, settings)


def _choose(scene: Scene, middle_s: float, settings: _Settings) -> list[int]:
    """The ids of the people with enough visible joints, who turn if the set is of such."""
    before, key, after = (scene.truth_at(middle_s + step / FPS) for step in (-FURTHEST, 0, FURTHEST))
    seen = [int(one) for one, joints in zip(key.ids, key.keypoints, strict=True) if _is_seen(joints)]
    return [one for one in seen if _turning(before, after, one) >= settings.turned]


def _is_seen(joints: NDArray[np.float32]) -> bool:
    return int((joints[:, 2] == VISIBLE).sum()) >= MIN_VISIBLE


def _turning(before: Picture, after: Picture, identity: int) -> float:
    """How much the extent of shoulders and hips along x changes, as a share of the person's size; -1 if absent."""
    if not all((picture.ids == identity).any() for picture in (before, after)):
        return -1.0
    first, last = (picture.keypoints[picture.ids == identity][0, :, 0] for picture in (before, after))
    box = after.boxes[after.ids == identity][0]
    changes = [(last[left] - last[right]) - (first[left] - first[right]) for left, right in _LEFT_RIGHT]
    return float(np.abs(changes).mean() / (box[2:] - box[:2]).max())


def _render_moment(
    scene: Scene, middle_s: float, moment: int, chosen: Sequence[int], settings: _Settings
) -> Iterator[LongTracks]:
    first = -HISTORY - PAST
    number = moment * (FURTHEST + 1 - first)  # seeds the noise
    seen = [scene.at(middle_s + step / FPS, number + step - first) for step in range(first, 1)]
    truths = [seen[-1], *(scene.truth_at(middle_s + step / FPS) for step in range(1, FURTHEST + 1))]
    for identity in chosen:
        if all((picture.ids == identity).any() for picture in [*seen[PAST:], *truths]):
            yield _cut(seen, truths, identity, settings.size)


def _cut(seen: Sequence[Picture], truths: Sequence[Picture], identity: int, size: tuple[int, int]) -> LongTracks:
    boxes = [picture.boxes[picture.ids == identity][0] for picture in seen[PAST:]]
    affines = [box_affine(box, size, np.random.default_rng(0), jitter=False) for box in boxes]
    crops = [
        [crop.crop(picture.pixels, affine, size) for picture in seen[index : index + PAST + 1]]
        for index, affine in enumerate(affines)
    ]
    joints = [picture.keypoints[picture.ids == identity][0].copy() for picture in truths]
    for one in joints:
        one[:, :2] = crop.to_crop(one[:, :2], affines[-1])
    to_key = [_compose(affines[-1], crop.invert(affine)) for affine in affines]
    scale = np.sqrt(abs(np.linalg.det(affines[-1][:, :2])))
    sizes = [scale * float((box[2:] - box[:2]).max()) for box in boxes]
    return LongTracks(np.array([crops]), np.array([to_key]), np.array([sizes]), np.array([joints], np.float32))


def _compose(second: crop.Affine, first: crop.Affine) -> crop.Affine:
    """The affine that applies ``first``, then ``second``."""
    return np.asarray(second @ np.vstack([first, [0.0, 0.0, 1.0]]), np.float64)
