"""Synthetic people followed over a few frames, each through one crop: what a temporal network learns from.

As in the papers, all frames of a window are cropped by one affine, made of the box in the middle frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import Kind
from engines.datasets.synthetic.moments import CLIP_S, LEAST_VISIBLE, pictures_about, rng_of, scene_of
from engines.datasets.synthetic.scene import Picture, Scene
from engines.skeletons import convert
from engines.vision import crop

ENLARGE: Final = 1.25


@dataclass(frozen=True)
class Tracks:
    """S people over L frames. ``pictures`` (S, L, h, w, 3) uint8 BGR; ``joints`` (S, L, 17, 3) float32, index
    coordinates in the crop and visibility; ``sizes`` (S,) px in the crop, the longer side of the middle frame's box.

    Drawn people have the joints of COCO; :meth:`as_skeleton` gives those of another.
    """

    pictures: NDArray[np.uint8]
    joints: NDArray[np.float32]
    sizes: NDArray[np.float32]
    skeleton: str = "coco17"

    def as_skeleton(self, skeleton: str) -> Tracks:
        """The same people with other joints; those that nobody drew have visibility 0."""
        people, frames = self.joints.shape[:2]
        joints = convert(self.joints.reshape(people * frames, *self.joints.shape[2:]), self.skeleton, skeleton)
        return replace(self, joints=joints.reshape(people, frames, *joints.shape[1:]), skeleton=skeleton)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Filming:
    """What is filmed: ``moments`` of each scene, ``frames`` about each at ``fps``; people cut out at ``size`` (width,
    height) px. ``kind`` names the conditions; without it any are drawn. ``jitter`` turns, moves and resizes boxes as a
    detector and an augmentation would; without it they are the true ones."""

    size: tuple[int, int] = (144, 192)
    frames: int = 5
    moments: int = 6
    fps: float = 15.0
    kind: Kind | None = None
    jitter: bool = True

    @property
    def middle(self) -> int:
        """The key frame's place."""
        return self.frames // 2


def film(seeds: Sequence[int], filming: Filming, workers: int = 2) -> Iterator[Tracks]:
    """The tracks of each seed's scene, in the order of the seeds whatever the workers do."""
    if workers < 2:
        yield from (film_scene(seed, filming) for seed in seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(film_scene, seeds, [filming] * len(seeds), chunksize=4)


def film_scene(seed: int, filming: Filming) -> Tracks:
    """Everybody seen well enough in one scene."""
    rng = rng_of(seed)
    scene = scene_of(seed, filming.kind, rng)
    tracks = [track for moment in range(filming.moments) for track in _moment(scene, moment, filming, rng)]
    return joined([Tracks(np.zeros(_shape(filming), np.uint8), *_no_joints(filming)), *tracks])


def joined(parts: Sequence[Tracks]) -> Tracks:
    """All of them, in order."""
    return Tracks(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.joints for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )


def _shape(filming: Filming) -> tuple[int, ...]:
    width, height = filming.size
    return 0, filming.frames, height, width, 3


def _no_joints(filming: Filming) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros((0, filming.frames, 17, 3), np.float32), np.zeros(0, np.float32)


def _moment(scene: Scene, moment: int, filming: Filming, rng: np.random.Generator) -> Iterator[Tracks]:
    pictures = pictures_about(scene, float(rng.uniform(0, CLIP_S)), moment, filming.frames, filming.fps)
    key = pictures[filming.middle]
    for identity, box, keypoints in zip(key.ids, key.boxes, key.keypoints, strict=True):
        if (keypoints[:, 2] == 2).sum() >= LEAST_VISIBLE:
            yield _track(pictures, int(identity), box, filming, rng)


def _track(
    pictures: Sequence[Picture], identity: int, box: NDArray[np.float32], filming: Filming, rng: np.random.Generator
) -> Tracks:
    affine = affine_of(box, filming.size, rng, jitter=filming.jitter)
    crops = [crop.crop(picture.pixels, affine, filming.size) for picture in pictures]
    joints = [_joints(picture, identity, affine) for picture in pictures]
    size = (box[2:] - box[:2]).max() * np.sqrt(abs(np.linalg.det(affine[:, :2])))
    return Tracks(np.stack(crops)[None], np.stack(joints)[None], np.array([size], np.float32))


def _joints(picture: Picture, identity: int, affine: crop.Affine) -> NDArray[np.float32]:
    """(17, 3) of one person in one picture, visibility 0 where they are not in it."""
    (rows,) = np.nonzero(picture.ids == identity)
    if not len(rows):
        return np.zeros((17, 3), np.float32)
    joints = picture.keypoints[rows[0]].copy()
    joints[:, :2] = crop.to_crop(joints[:, :2], affine)
    return joints


def affine_of(
    box: NDArray[np.float32], size: tuple[int, int], rng: np.random.Generator, *, jitter: bool
) -> crop.Affine:
    """Frame to crop of ``size`` (width, height) px; with ``jitter`` turned, moved and resized as a detector might."""
    xywh = np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]], np.float64)
    center, scale = crop.box_to_center_scale(xywh, size, ENLARGE)
    if not jitter:
        return crop.crop_affine(center, scale, size)
    center = center + rng.normal(0, 0.05, 2).astype(np.float32) * scale * np.float32(crop.SCALE_UNIT_PX)
    scale = scale * np.float32(rng.uniform(0.8, 1.25))
    turn = float(np.clip(rng.normal(0, 18), -45, 45)) if rng.random() < 0.5 else 0.0
    return crop.crop_affine(center, scale, size, rotation_degrees=turn)
