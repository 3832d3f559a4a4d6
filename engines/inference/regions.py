"""The region of a frame that is one person's crop: cropping it, and transforming keypoints back to the frame.

All frames of a window are cropped by the same region. A region of its own for each frame would remove the motion that a
temporal network reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import AffineRule, Signature
from engines.spec.tensors import Array
from engines.vision import crop
from engines.vision.letterbox import to_tensor

_Crop = tuple[tuple[int, int], AffineRule]
"""Size, (width, height) px, and rule of a crop."""


@dataclass(frozen=True, eq=False)
class Region:
    """``center`` (2,) px and ``scale`` (2,) in units of 200 px, float32, as published networks take them."""

    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    _affines: dict[tuple[tuple[int, int], AffineRule], crop.Affine] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4,) x1, y1, x2, y2 px."""
        x, y, width, height = crop.center_scale_to_box(self.center, self.scale)
        return np.array([x, y, x + width, y + height])

    def widen(self, factor: float) -> Region:
        """The region with the same centre and ``factor`` times the size."""
        return Region(self.center, (self.scale * factor).astype(np.float32))

    def move(self, distance: float) -> Region:
        """The region ``distance`` px to the right."""
        return Region(self.center + np.array([distance, 0], np.float32), self.scale)

    @property
    def width(self) -> float:
        """px."""
        return float(self.scale[0]) * crop.SCALE_UNIT_PX

    def reaches(self, other: Region, factor: float) -> bool:
        """True if ``other`` lies within this region of ``factor`` times the size."""
        centers = zip(self.center.tolist(), other.center.tolist(), strict=True)
        scales = zip(self.scale.tolist(), other.scale.tolist(), strict=True)
        return all(
            2 * abs(theirs - own) <= (factor * own_scale - their_scale) * crop.SCALE_UNIT_PX
            for (own, theirs), (own_scale, their_scale) in zip(centers, scales, strict=True)
        )

    def get_affine(self, size: tuple[int, int], rule: AffineRule = "standard") -> crop.Affine:
        """The affine (2, 3) from the frame to a crop of ``size`` (width, height) px; the same array on every call."""
        key = size, rule
        if key not in self._affines:
            self._affines[key] = crop.crop_affine(self.center, self.scale, size, rule=rule)
        return self._affines[key]


def box_to_region(signature: Signature, box: NDArray[np.float32]) -> Region:
    """The region of a box (4,) x1, y1, x2, y2 px: enlarged, and of the aspect ratio of the input."""
    x1, y1, x2, y2 = (float(value) for value in box)
    xywh = np.array([x1, y1, x2 - x1, y2 - y1])
    return Region(*crop.box_to_center_scale(xywh, signature.input_size, signature.enlarge))


def crop_regions(signature: Signature, frames: Sequence[NDArray[np.uint8]], regions: Sequence[Region]) -> Array:
    """The crops (N, ...) of ``regions``, each from its frame (H, W, 3) uint8 BGR, as the network takes them.

    A crop is (h, w, 3) uint8 or, normalised, (3, h, w) or (h, w, 3) float32, according to ``pixel`` and ``layout``.
    """
    size = signature.input_size
    crops = np.empty((len(frames), size[1], size[0], 3), np.uint8)
    for index, (pixels, region) in enumerate(zip(frames, regions, strict=True)):
        crop.crop(pixels, region.get_affine(size, signature.affine), size, out=crops[index])
    if signature.pixel == "uint8":
        return crops
    planes = to_tensor(crops, signature.colour, signature.mean, signature.std)
    return planes.transpose(0, 2, 3, 1) if signature.layout == "nhwc" else planes


def to_keypoints(
    signature: Signature, points: NDArray[np.float64], scores: NDArray[np.float32], regions: Sequence[Region]
) -> NDArray[np.float32]:
    """Keypoints (N, K, 3) x px, y px in the frame and score in 0..1; 0, 0, 0 if a number is not finite.

    ``points`` (N, K, 2) are index coordinates in the crops of ``regions``, ``scores`` (N, K). The transform always
    follows the standard rule, even if crops are made by another: so the networks were published.
    """
    keypoints = np.empty((*scores.shape, 3))
    if regions:
        affines = np.stack([region.get_affine(signature.input_size) for region in regions])
        keypoints[..., :2] = crop.to_frame_each(points, affines)
    np.clip(scores, 0, 1, out=keypoints[..., 2])
    keypoints[~np.isfinite(keypoints).all(axis=2)] = 0
    return keypoints.astype(np.float32)
