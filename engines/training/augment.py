"""Geometric augmentation of crops: half bodies, scale, rotation and flips, as in the published pipelines.

The order and the distributions are those that the code of HRNet, DCPose, FaSRnet and FAMI-Pose share; their parameters
are options of :class:`engines.training.recipe.Augmentation`. All frames of a window are cropped by one affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Floats
from engines.skeletons import SKELETONS
from engines.training.recipe import Augmentation
from engines.vision import crop

_LOWER_BODY: Final = ("hip", "knee", "ankle", "pelvis", "belly")
_MIN_JOINTS_FOR_HALF_BODY: Final = 9
_HALF_BODY_ENLARGE: Final = 1.5
_BOX_ENLARGE: Final = 1.25

Joints = NDArray[np.float32]


@dataclass(frozen=True)
class CropRegion:
    """A region of a frame: ``center`` (2,) px, ``scale`` (2,) in units of 200 px, a rotation, and whether to flip."""

    center: Joints
    scale: Joints
    rotation_degrees: float = 0.0
    flipped: bool = False

    def affine(self, frame_width: int, size: tuple[int, int]) -> crop.Affine:
        """The affine from the frame to a crop of ``size`` (width, height)."""
        if not self.flipped:
            return crop.crop_affine(self.center, self.scale, size, rotation_degrees=self.rotation_degrees)
        # The frame is flipped first, as published: its columns x become width - 1 - x.
        center = np.array([frame_width - 1 - self.center[0], self.center[1]], np.float32)
        affine = crop.crop_affine(center, self.scale, size, rotation_degrees=self.rotation_degrees)
        flip = np.array([[-1.0, 0.0, frame_width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return affine @ flip


def box_region(box: Floats, size: tuple[int, int]) -> CropRegion:
    """The region of a box (4,) x, y, width, height px, enlarged by a quarter, without augmentation."""
    return CropRegion(*crop.box_to_center_scale(box, size, _BOX_ENLARGE))


def random_region(
    box: Floats,
    joints: Joints,
    size: tuple[int, int],
    skeleton: str,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> CropRegion:
    """A random region around a person with ``joints`` (K, 3) px in the frame."""
    region = box_region(box, size)
    if (joints[:, 2] > 0).sum() >= _MIN_JOINTS_FOR_HALF_BODY and rng.random() < augmentation.half_body:
        region = half_body_region(joints, size, skeleton, rng) or region
    factor = np.clip(rng.normal() * augmentation.scale + 1, 1 - augmentation.scale, 1 + augmentation.scale)
    limit = augmentation.rotation_limit
    degrees = np.clip(rng.normal() * augmentation.rotation, -limit, limit)
    rotated, flipped = rng.random() < augmentation.rotated, rng.random() < augmentation.flip
    scale = (region.scale * factor).astype(np.float32)
    return CropRegion(region.center, scale, float(degrees) if rotated else 0.0, bool(flipped))


def half_body_region(
    joints: Joints, size: tuple[int, int], skeleton: str, rng: np.random.Generator
) -> CropRegion | None:
    """The region of the annotated joints above the hips, or of those from the hips down; None if there are too few."""
    is_lower = np.array([joint.split("_")[-1] in _LOWER_BODY for joint in SKELETONS[skeleton].joints])
    annotated = joints[:, 2] > 0
    upper, lower = joints[annotated & ~is_lower, :2], joints[annotated & is_lower, :2]
    # A standard normal number below 0.5, as published, has a probability of 0.69.
    chosen = upper if (rng.normal() < 0.5 and len(upper) > 2) or len(lower) <= 2 else lower
    if len(chosen) < 2:
        return None
    extent = chosen.max(0) - chosen.min(0)
    aspect = size[0] / size[1]
    widened = np.array([max(extent[0], extent[1] * aspect), max(extent[1], extent[0] / aspect)])
    scale = widened / crop.SCALE_UNIT_PX * _HALF_BODY_ENLARGE
    return CropRegion(chosen.mean(0).astype(np.float32), scale.astype(np.float32))


def transform_joints(
    joints: Joints, affine: crop.Affine, size: tuple[int, int], skeleton: str, *, flipped: bool
) -> Joints:
    """(K, 3) in the crop. Joints outside it count as not annotated; a flip exchanges left and right."""
    moved = joints[list(SKELETONS[skeleton].flip_order)] if flipped else joints.copy()
    moved[:, :2] = crop.transform(moved[:, :2], affine)
    inside = ((moved[:, :2] >= 0) & (moved[:, :2] <= size)).all(1)
    moved[~inside | (moved[:, 2] <= 0)] = 0
    return moved
