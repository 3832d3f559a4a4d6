"""Resizing of a frame to a network's input, and boxes back to the frame.

Coordinates are continuous pixels on both sides, so that a resize by ``r`` multiplies them by ``r`` exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.spec.signature import Fit, Triple

Pad = int | tuple[int, int, int]
"""The colour of the padding: a grey level, or blue, green and red."""


@dataclass(frozen=True)
class FittedFrame:
    """A resized frame ``pixels`` (H, W, 3) uint8 BGR.

    A point of the frame is at ``point * scale + offset`` in ``pixels``; both are (x, y), ``offset`` in px.
    """

    pixels: NDArray[np.uint8]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_frame(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) px of the input, transformed to the frame, float32."""
        scale, offset = np.tile(self.scale, 2), np.tile(self.offset, 2)
        frame_boxes: NDArray[np.float32] = ((boxes - offset) / scale).astype(np.float32)
        return frame_boxes


def fit_frame(pixels: NDArray[np.uint8], size: tuple[int, int], fit: Fit, pad: Pad) -> FittedFrame:
    """A frame ``pixels`` (H, W, 3) resized, bilinear, to ``size`` (width, height) px.

    ``fit`` ``stretch`` changes the aspect ratio; ``top-left`` and ``centre`` keep it, place the frame there and fill
    the rest with ``pad``.
    """
    if fit == "stretch":
        stretched = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        scale = (size[0] / pixels.shape[1], size[1] / pixels.shape[0])
        return FittedFrame(cast(NDArray[np.uint8], stretched), scale, (0.0, 0.0))
    return _letterbox(pixels, size, fit, pad)


def _letterbox(pixels: NDArray[np.uint8], size: tuple[int, int], fit: Fit, pad: Pad) -> FittedFrame:
    height, width = pixels.shape[:2]
    ratio = min(size[0] / width, size[1] / height)
    # As those who publish such networks do: YOLOX rounds down, YOLOv5 to the nearest.
    to_whole = round if fit == "centre" else int
    inner = max(1, to_whole(width * ratio)), max(1, to_whole(height * ratio))
    left, top = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2) if fit == "centre" else (0, 0)
    canvas = np.full((size[1], size[0], 3), pad, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR)
    # The actual factors, after rounding: the frame's edges lie on whole pixels of the input.
    return FittedFrame(canvas, (inner[0] / width, inner[1] / height), (float(left), float(top)))


def to_tensor(pixels: NDArray[np.uint8], colour: str, mean: Triple, std: Triple) -> NDArray[np.float32]:
    """``(pixel - mean) / std`` as (..., 3, H, W) float32 in the channel order ``colour``, from (..., H, W, 3) uint8.

    Pixels are BGR; ``mean`` and ``std`` are grey levels in that order.
    """
    ordered = pixels[..., ::-1] if colour == "rgb" else pixels
    planes = np.ascontiguousarray(np.moveaxis(ordered, -1, -3), np.float32)
    planes -= np.array(mean, np.float32)[:, None, None]
    planes /= np.array(std, np.float32)[:, None, None]
    return planes
