"""Encoding of pictures in the formats of OpenCV, each of which holds pictures up to a size of its own."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.capture.stills import quiet_opencv
from stream.errors import PropertyError

MAX_JPEG_PX = 65_500
"""The longest side that OpenCV writes as JPEG; the format itself ends at 65,535."""

_MAX_PX = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), MAX_JPEG_PX),
    ".png": 1_000_000,  # by the default limits of libpng
    ".webp": 16_383,
}


def encode(picture: NDArray[np.uint8], name: object, *, suffix: str, quality: int | None = None, remedy: str) -> bytes:
    """Encode a BGR picture (H, W, 3) as the format of ``suffix``; ``quality`` is that of JPEG, 0..100.

    Raises :class:`PropertyError`, which calls the picture ``name`` and proposes ``remedy``, for one that the format
    cannot hold.
    """
    height, width = picture.shape[:2]
    limit = _MAX_PX.get(suffix.lower())
    size = f"is {width:,} x {height:,} px"
    if limit is not None and max(height, width) > limit:
        raise PropertyError(f"{name} {size}, and a side of a {suffix} has at most {limit:,} px; {remedy}")
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    with quiet_opencv():
        try:
            is_encoded, encoded = cv2.imencode(suffix, picture, options)
        except cv2.error:  # no format of this suffix, or no pixels
            is_encoded = False
    if not is_encoded:
        raise PropertyError(
            f"{name} {size}, which OpenCV cannot encode as {suffix or 'a file without a suffix'}; {remedy}"
        )
    return encoded.tobytes()
