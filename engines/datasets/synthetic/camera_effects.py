"""Effects of a real camera: defocus, noise and compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def blur(pixels: Pixels, sigma_px: float) -> Pixels:
    """Blur by a Gaussian, as out of focus."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), np.uint8) if sigma_px > 0 else pixels


def add_noise(pixels: Pixels, sigma: float, seed: int) -> Pixels:
    """Add Gaussian noise of ``sigma`` grey levels."""
    if sigma <= 0:
        return pixels
    # As one channel with rows of 3 W numbers: OpenCV takes a single mean for one channel only.
    noise = np.empty((pixels.shape[0], 3 * pixels.shape[1]), np.int16)
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    cv2.randn(noise, np.zeros(1), np.full(1, sigma))
    return np.asarray(cv2.add(pixels, noise.reshape(pixels.shape), dtype=cv2.CV_8U), np.uint8)


def compress(pixels: Pixels, quality: int) -> Pixels:
    """Compress by JPEG; ``quality`` 0 leaves the pixels unchanged."""
    if not quality:
        return pixels
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
