"""Crops of synthetic people with the joints in them: what a top-down network learns from."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines import geometry
from engines.people.scene import Picture, Scene

ENLARGE: Final = 1.25
_LEAST_VISIBLE: Final = 4
_CLIP_S: Final = 240.0
_SIZES: Final = ((640, 480), (480, 360), (800, 600), (640, 360))


@dataclass(frozen=True)
class Crops:
    """``pictures`` (M, h, w, 3) uint8 BGR; ``joints`` (M, 17, 3) float32: index coordinates in the crop, visibility."""

    pictures: NDArray[np.uint8]
    joints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class Draw:
    """What to draw: ``frames`` moments of a scene, each person cut out ``looks`` times; ``jitter`` turns, moves and
    resizes the boxes as a detector and an augmentation would; without it boxes are the true ones."""

    frames: int = 16
    looks: int = 2
    jitter: bool = True
    size: tuple[int, int] = (144, 192)


def crops_of(seeds: list[int], draw: Draw, workers: int = 2) -> Iterator[Crops]:
    """The crops of each seed's scene, in the order of the seeds whatever the workers do."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_scene_crops, seeds, [draw] * len(seeds), chunksize=4)


def _scene_crops(seed: int, draw: Draw) -> Crops:
    rng = np.random.default_rng([seed, 0xC40B])
    width, height = _SIZES[rng.integers(len(_SIZES))]
    blur = float(rng.uniform(0.4, 1.6)) if rng.random() < 0.3 else 0.0
    scene = Scene(seed, int(rng.integers(1, 6)), width, height, blur=blur, noise=float(rng.uniform(0, 9)))
    rows = [row for k in range(draw.frames) for row in _cut(scene.at(rng.uniform(0, _CLIP_S), k), draw, rng)]
    shape = (0, draw.size[1], draw.size[0], 3)
    return Crops(
        np.stack([picture for picture, _ in rows]) if rows else np.zeros(shape, np.uint8),
        np.array([joints for _, joints in rows], np.float32).reshape(-1, 17, 3),
    )


def _cut(
    picture: Picture, draw: Draw, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    for box, keypoints in zip(picture.boxes, picture.keypoints, strict=True):
        if (keypoints[:, 2] == 2).sum() < _LEAST_VISIBLE:
            continue
        for _ in range(draw.looks):
            affine = affine_of(box, draw.size, rng, jitter=draw.jitter)
            joints = keypoints.copy()
            joints[:, :2] = geometry.to_crop(keypoints[:, :2], affine)
            yield geometry.crop(picture.pixels, affine, draw.size), joints


def affine_of(
    box: NDArray[np.float32], size: tuple[int, int], rng: np.random.Generator, *, jitter: bool
) -> geometry.Affine:
    """Frame to crop of ``size`` (width, height) px; with ``jitter`` turned, moved and resized as a detector might."""
    xywh = np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]], np.float64)
    center, scale = geometry.box_to_center_scale(xywh, size, ENLARGE)
    if not jitter:
        return geometry.crop_affine(center, scale, size)
    center = center + rng.normal(0, 0.05, 2).astype(np.float32) * scale * np.float32(geometry.SCALE_UNIT_PX)
    scale = scale * np.float32(rng.uniform(0.8, 1.25))
    turn = float(np.clip(rng.normal(0, 18), -45, 45)) if rng.random() < 0.5 else 0.0
    return geometry.crop_affine(center, scale, size, rotation_degrees=turn)
