"""The region of a frame that is one person's crop: how pixels come out of it, and how keypoints go back.

A crop is one region for all frames of a window, since a region for each would take away the motion that a temporal
network reads.
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
    """``center`` (2,) px and ``scale`` (2,) in units of 200 px, float32, as published networks were given them."""

    center: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4,) x1, y1, x2, y2 px."""
        x, y, width, height = crop.center_scale_to_box(self.center, self.scale)
        return np.array([x, y, x + width, y + height])

    def widened(self, factor: float) -> Region:
        """The same middle, ``factor`` times the size."""
        return Region(self.center, (self.scale * factor).astype(np.float32))

    def holds(self, other: Region) -> bool:
        """Whether ``other`` lies within this one."""
        mine, theirs = self.corners, other.corners
        return bool((mine[:2] <= theirs[:2]).all() and (theirs[2:] <= mine[2:]).all())


def box_to_region(signature: Signature, box: NDArray[np.float32]) -> Region:
    """The region that the Signature's rule makes of a box (4,) px: the paper's crop."""
    x1, y1, x2, y2 = (float(value) for value in box)
    xywh = np.array([x1, y1, x2 - x1, y2 - y1])
    return Region(*crop.box_to_center_scale(xywh, signature.input_size, signature.enlarge))


def cut(signature: Signature, pixels: NDArray[np.uint8], region: Region) -> Array:
    """One frame of one person as the network takes it: (H, W, 3) uint8 or (3, H, W) float32."""
    affine = crop.crop_affine(region.center, region.scale, signature.input_size, rule=signature.affine)
    cut = crop.crop(pixels, affine, signature.input_size)
    if signature.pixel == "uint8":
        return cut
    return to_tensor(cut, signature.colour, signature.mean, signature.std)


def placed(
    signature: Signature, points: NDArray[np.float64], scores: NDArray[np.float32], region: Region
) -> NDArray[np.float32]:
    """(K, 3) x px, y px in the frame and score in 0..1, from index coordinates (K, 2) in the crop and scores (K,).

    Always by the standard rule, also where crops are made by another: so it was published.
    """
    affine = crop.crop_affine(region.center, region.scale, signature.input_size)
    sure = np.clip(scores, 0, 1)
    return np.concatenate([crop.to_frame(points, affine), sure[:, None]], axis=1, dtype=np.float32)
