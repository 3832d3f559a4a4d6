"""Synthetic people tracked over a few frames, each in one fixed crop: training data for temporal networks.

As in the papers, all frames of a window are cropped by one affine, computed from the box in the middle frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import Conditions, Kind
from engines.datasets.synthetic.moments import CLIP_S, MIN_VISIBLE, create_rng, create_scene, render_moment
from engines.datasets.synthetic.scene import Picture, Scene
from engines.skeletons import convert
from engines.vision import crop

ENLARGE: Final = 1.25


@dataclass(frozen=True)
class Tracks:
    """S people over L frames. ``pictures`` (S, L, h, w, 3) uint8 BGR; ``joints`` (S, L, 17, 3) float32, index
    coordinates in the crop and visibility; ``sizes`` (S,) px in the crop, the longer side of the middle frame's box.

    Rendered people have COCO's joints; :meth:`as_skeleton` converts them.
    """

    pictures: NDArray[np.uint8]
    joints: NDArray[np.float32]
    sizes: NDArray[np.float32]
    skeleton: str = "coco17"

    def as_skeleton(self, skeleton: str) -> Tracks:
        """The same people with the joints of another skeleton; joints that were not rendered have visibility 0."""
        people, frames = self.joints.shape[:2]
        joints = convert(self.joints.reshape(people * frames, *self.joints.shape[2:]), self.skeleton, skeleton)
        return replace(self, joints=joints.reshape(people, frames, *joints.shape[1:]), skeleton=skeleton)

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class TrackSettings:
    """What to render: ``moments`` of each scene, ``frames`` around each at ``fps``, people cropped to ``size`` (width,
    height) px. ``kind`` names or gives the conditions, None draws them at random. ``jitter`` rotates, shifts and scales
    boxes as a detector and augmentation would; without it they are the true ones."""

    size: tuple[int, int] = (144, 192)
    frames: int = 5
    moments: int = 6
    fps: float = 15.0
    kind: Kind | Conditions | None = None
    jitter: bool = True

    @property
    def middle(self) -> int:
        """The index of the key frame."""
        return self.frames // 2


def render_scenes(seeds: Sequence[int], settings: TrackSettings, workers: int = 2) -> Iterator[Tracks]:
    """The tracks of each seed's scene, in the order of the seeds for any number of workers."""
    if workers < 2:
        yield from (render_scene(seed, settings) for seed in seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(render_scene, seeds, [settings] * len(seeds), chunksize=4)


def render_scene(seed: int, settings: TrackSettings) -> Tracks:
    """The tracks of every person in a scene with enough visible joints."""
    rng = create_rng(seed)
    scene = create_scene(seed, settings.kind, rng)
    tracks = [track for moment in range(settings.moments) for track in _render_moment(scene, moment, settings, rng)]
    return concatenate([_empty(settings), *tracks])


def concatenate(parts: Sequence[Tracks]) -> Tracks:
    """All tracks in order."""
    return Tracks(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.joints for part in parts]),
        np.concatenate([part.sizes for part in parts]),
    )


def box_affine(
    box: NDArray[np.float32], size: tuple[int, int], rng: np.random.Generator, *, jitter: bool
) -> crop.Affine:
    """Frame to crop of ``size`` (width, height) px; with ``jitter`` rotated, shifted and scaled at random."""
    xywh = np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]], np.float64)
    center, scale = crop.box_to_center_scale(xywh, size, ENLARGE)
    if not jitter:
        return crop.crop_affine(center, scale, size)
    center = center + rng.normal(0, 0.05, 2).astype(np.float32) * scale * np.float32(crop.SCALE_UNIT_PX)
    scale = scale * np.float32(rng.uniform(0.8, 1.25))
    degrees = float(np.clip(rng.normal(0, 18), -45, 45)) if rng.random() < 0.5 else 0.0
    return crop.crop_affine(center, scale, size, rotation_degrees=degrees)


def _empty(settings: TrackSettings) -> Tracks:
    width, height = settings.size
    pictures = np.zeros((0, settings.frames, height, width, 3), np.uint8)
    return Tracks(pictures, np.zeros((0, settings.frames, 17, 3), np.float32), np.zeros(0, np.float32))


def _render_moment(scene: Scene, moment: int, settings: TrackSettings, rng: np.random.Generator) -> Iterator[Tracks]:
    pictures = render_moment(scene, float(rng.uniform(0, CLIP_S)), moment, settings.frames, settings.fps)
    key = pictures[settings.middle]
    for identity, box, keypoints in zip(key.ids, key.boxes, key.keypoints, strict=True):
        if (keypoints[:, 2] == 2).sum() >= MIN_VISIBLE:
            yield _crop_track(pictures, int(identity), box, settings, rng)


def _crop_track(
    pictures: Sequence[Picture],
    identity: int,
    box: NDArray[np.float32],
    settings: TrackSettings,
    rng: np.random.Generator,
) -> Tracks:
    affine = box_affine(box, settings.size, rng, jitter=settings.jitter)
    crops = [crop.crop(picture.pixels, affine, settings.size) for picture in pictures]
    joints = [_crop_joints(picture, identity, affine) for picture in pictures]
    size = (box[2:] - box[:2]).max() * np.sqrt(abs(np.linalg.det(affine[:, :2])))
    return Tracks(np.stack(crops)[None], np.stack(joints)[None], np.array([size], np.float32))


def _crop_joints(picture: Picture, identity: int, affine: crop.Affine) -> NDArray[np.float32]:
    """(17, 3) of one person in one picture; visibility 0 if the person is not in it."""
    (rows,) = np.nonzero(picture.ids == identity)
    if not len(rows):
        return np.zeros((17, 3), np.float32)
    joints = picture.keypoints[rows[0]].copy()
    joints[:, :2] = crop.to_crop(joints[:, :2], affine)
    return joints
