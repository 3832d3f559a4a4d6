"""How a person is cut out of a frame for training: the published pipeline's half bodies, sizes, turns and mirrors.

The order and the numbers are those that the code of HRNet, DCPose, FaSRnet and FAMI-Pose share; the numbers are options
of :class:`engines.training.recipe.Augmentation`. All frames of a window are cut by one affine.
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

_LEGS: Final = ("hip", "knee", "ankle", "pelvis", "belly")
_MANY_JOINTS: Final = 8
_HALF_ENLARGE: Final = 1.5
_BOX_ENLARGE: Final = 1.25

Single = NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """A region of a frame: ``center`` (2,) px, ``scale`` (2,) in 200 px, turned by degrees, perhaps mirrored."""

    center: Single
    scale: Single
    rotation_degrees: float = 0.0
    mirrored: bool = False

    def affine(self, frame_width: int, size: tuple[int, int]) -> crop.Affine:
        """From the frame to a crop of ``size`` (width, height)."""
        if not self.mirrored:
            return crop.crop_affine(self.center, self.scale, size, rotation_degrees=self.rotation_degrees)
        # The frame is mirrored first, as published: its columns x become width - 1 - x.
        center = np.array([frame_width - 1 - self.center[0], self.center[1]], np.float32)
        affine = crop.crop_affine(center, self.scale, size, rotation_degrees=self.rotation_degrees)
        mirror = np.array([[-1.0, 0.0, frame_width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        return affine @ mirror


def plain(box: Floats, size: tuple[int, int]) -> Look:
    """The box (4,) x, y, width, height px, enlarged by a quarter: what a network sees when it is judged."""
    return Look(*crop.box_to_center_scale(box, size, _BOX_ENLARGE))


def drawn(
    box: Floats, joints: Single, size: tuple[int, int], skeleton: str, told: Augmentation, rng: np.random.Generator
) -> Look:
    """One of the looks at a person of ``joints`` (K, 3) in the frame that ``told`` allows."""
    look = plain(box, size)
    if (joints[:, 2] > 0).sum() > _MANY_JOINTS and rng.random() < told.half_body:
        look = half_body(joints, size, skeleton, rng) or look
    factor = np.clip(rng.normal() * told.scale + 1, 1 - told.scale, 1 + told.scale)
    turn = np.clip(rng.normal() * told.rotation, -told.rotation_limit, told.rotation_limit)
    turned, mirrored = rng.random() < told.rotated, rng.random() < told.flip
    return Look(look.center, (look.scale * factor).astype(np.float32), float(turn) if turned else 0.0, bool(mirrored))


def half_body(joints: Single, size: tuple[int, int], skeleton: str, rng: np.random.Generator) -> Look | None:
    """About the annotated joints above the hips, or those from the hips down; None where either is too few."""
    legs = np.array([joint.split("_")[-1] in _LEGS for joint in SKELETONS[skeleton].joints])
    seen = joints[:, 2] > 0
    upper, lower = joints[seen & ~legs, :2], joints[seen & legs, :2]
    # A normal number below 0.5, as published: the upper half more than twice in three times.
    chosen = upper if (rng.normal() < 0.5 and len(upper) > 2) or len(lower) <= 2 else lower
    if len(chosen) < 2:
        return None
    extent = chosen.max(0) - chosen.min(0)
    aspect = size[0] / size[1]
    widened = np.array([max(extent[0], extent[1] * aspect), max(extent[1], extent[0] / aspect)])
    scale = widened / crop.SCALE_UNIT_PX * _HALF_ENLARGE
    return Look(chosen.mean(0).astype(np.float32), scale.astype(np.float32))


def joints_in_crop(
    joints: Single, affine: crop.Affine, size: tuple[int, int], skeleton: str, *, mirrored: bool
) -> Single:
    """(K, 3) in the crop; those outside it count as not annotated, and sides change in a mirrored one."""
    moved = joints[list(SKELETONS[skeleton].flip_order)] if mirrored else joints.copy()
    moved[:, :2] = crop.transform(moved[:, :2], affine)
    inside = ((moved[:, :2] >= 0) & (moved[:, :2] <= size)).all(1)
    moved[~inside | (moved[:, 2] <= 0)] = 0
    return moved
