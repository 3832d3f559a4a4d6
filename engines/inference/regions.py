"""The region of a frame that is one person's crop: cropping it, and transforming keypoints back to the frame.

All frames of a window are cropped by the same region. A region of its own for each frame would remove the motion that a
temporal network reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import Signature
from engines.spec.tensors import Array
from engines.vision import crop
from engines.vision.letterbox import to_tensor


@dataclass(frozen=True, eq=False)
class Region:
    """``center`` (2,) px and ``scale`` (2,) in units of 200 px, float32, as published networks take them."""

    center: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4,) x1, y1, x2, y2 px."""
        x, y, width, height = crop.center_scale_to_box(self.center, self.scale)
        return np.array([x, y, x + width, y + height])

    def widen(self, factor: float) -> Region:
        """The region with the same centre and ``factor`` times the size."""
        return Region(self.center, (self.scale * factor).astype(np.float32))

    def contains(self, other: Region) -> bool:
        """True if ``other`` lies within this region."""
        own, others = self.corners, other.corners
        return bool((own[:2] <= others[:2]).all() and (others[2:] <= own[2:]).all())


def box_to_region(signature: Signature, box: NDArray[np.float32]) -> Region:
    """The region of a box (4,) x1, y1, x2, y2 px: enlarged, and of the aspect ratio of the input."""
    x1, y1, x2, y2 = (float(value) for value in box)
    xywh = np.array([x1, y1, x2 - x1, y2 - y1])
    return Region(*crop.box_to_center_scale(xywh, signature.input_size, signature.enlarge))


def crop_region(signature: Signature, pixels: NDArray[np.uint8], region: Region) -> Array:
    """The crop of ``region`` from a frame (H, W, 3) uint8 BGR, as the network takes it.

    It is (h, w, 3) uint8 or, normalised, (3, h, w) or (h, w, 3) float32, according to ``pixel`` and ``layout``.
    """
    affine = crop.crop_affine(region.center, region.scale, signature.input_size, rule=signature.affine)
    cropped = crop.crop(pixels, affine, signature.input_size)
    if signature.pixel == "uint8":
        return cropped
    planes = to_tensor(cropped, signature.colour, signature.mean, signature.std)
    return planes.transpose(1, 2, 0) if signature.layout == "nhwc" else planes


def to_keypoints(
    signature: Signature, points: NDArray[np.float64], scores: NDArray[np.float32], region: Region
) -> NDArray[np.float32]:
    """Keypoints (K, 3) x px, y px in the frame and score in 0..1; 0, 0, 0 if a number is not finite.

    ``points`` (K, 2) are index coordinates in the crop of ``region``, ``scores`` (K,). The transform always follows the
    standard rule, even if crops are made by another: so the networks were published.
    """
    affine = crop.crop_affine(region.center, region.scale, signature.input_size)
    keypoints = np.concatenate([crop.to_frame(points, affine), np.clip(scores, 0, 1)[:, None]], axis=1)
    return np.where(np.isfinite(keypoints).all(axis=1, keepdims=True), keypoints, 0).astype(np.float32)
