"""Still pictures: JPEG, PNG, TIFF, WebP and the other formats of OpenCV, as upright (EXIF) 8-bit BGR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from stream.capture.decoded_picture import Pixels
from stream.errors import SourceError

STILL_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".exr", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def is_still(path: Path) -> bool:
    """True if the suffix is that of a still picture."""
    return path.suffix.lower() in STILL_SUFFIXES


def read_still(path: Path) -> Pixels:
    """Read the picture in ``path`` as (H, W, 3) uint8 BGR.

    16-bit values are reduced to 8 bits, grey and CMYK converted to BGR, alpha discarded. Raises :class:`SourceError` if
    the file cannot be read, is not a picture, or is truncated.
    """
    check_readable(path)
    data = path.read_bytes()
    if _is_truncated(data):
        raise SourceError(f"{str(path)!r} is truncated: its end is missing ({len(data)} bytes); copy it again")
    pixels = _decode(data)
    if pixels is None:
        raise SourceError(f"{str(path)!r} is not a picture OpenCV can decode ({len(data)} bytes); replace or remove it")
    return pixels


def check_readable(path: Path) -> None:
    """Raise :class:`SourceError` if a file cannot be opened or is empty."""
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(f"{str(path)!r} cannot be read: {why}; check the path and its permissions") from error
    if is_empty:
        raise SourceError(f"{str(path)!r} is empty (0 bytes); copy or download it again")


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's messages on stderr: the caller raises one line instead."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _decode(data: bytes) -> Pixels | None:
    with quiet_opencv():
        try:
            return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        except (cv2.error, TypeError):  # imdecode returns None if it has no decoder
            return None


def _is_truncated(data: bytes) -> bool:
    """True if the end marker is missing. OpenCV before 5 fills the missing part of a JPEG or PNG with grey silently."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-_TAIL:]
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-_TAIL:]


_TAIL = 64 * 1024
"""How far from the end to search for the end marker: some cameras append a thumbnail or padding."""
