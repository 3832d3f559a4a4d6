"""From what is drawn to what a camera gives: focus, grain, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def blurred(pixels: Pixels, sigma_px: float) -> Pixels:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), np.uint8) if sigma_px > 0 else pixels


def grained(pixels: Pixels, sigma: float, seed: int) -> Pixels:
    """With noise of ``sigma`` grey levels."""
    if sigma <= 0:
        return pixels
    # One channel a row of 3 W numbers: OpenCV reads a mean of one number for one channel only.
    grain = np.empty((pixels.shape[0], 3 * pixels.shape[1]), np.int16)
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    cv2.randn(grain, np.zeros(1), np.full(1, sigma))
    return np.asarray(cv2.add(pixels, grain.reshape(pixels.shape), dtype=cv2.CV_8U), np.uint8)


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Through JPEG; ``quality`` 0 leaves it out."""
    if not quality:
        return pixels
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
