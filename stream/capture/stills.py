"""Still pictures: JPEG, PNG, TIFF, WebP and the other formats of OpenCV, as upright (EXIF) 8-bit BGR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream.capture.decoded_picture import Pixels
from stream.capture.picture_suffixes import find_format, is_picture
from stream.capture.regular_file import check_readable
from stream.errors import SourceError

_MULTIPLE = frozenset({".avif", ".gif", ".png", ".tif", ".tiff", ".webp"})
"""Formats that can hold several pictures: animations, and pages of a TIFF."""


def is_still(path: Path) -> bool:
    """True if the file is one picture: its name ends as one, and it holds no more than one."""
    return is_picture(path) and count_pictures(path) <= 1


def count_pictures(path: Path) -> int:
    """Count the frames or pages of a picture, by its header; 1 if it cannot be read."""
    try:
        if not path.is_file() or find_format(path) not in _MULTIPLE:
            return 1
        with opencv_name(path) as name:
            return max(1, cv2.imcount(name))
    except (OSError, cv2.error):
        return 1


def read_still(path: Path) -> Pixels:
    """Read the picture in ``path`` as (H, W, 3) uint8 BGR.

    16-bit values are reduced to 8 bits, grey and CMYK converted to BGR, alpha discarded. Raises :class:`SourceError` if
    the file cannot be read, is not a picture, or is truncated.
    """
    check_readable(path)
    data = path.read_bytes()
    if _is_truncated(data):
        raise SourceError(f"{str(path)!r} is truncated: its end is missing ({len(data)} bytes); copy it again")
    pixels = decode_still(data)
    if pixels is None:
        raise SourceError(f"{str(path)!r} is not a picture OpenCV can decode ({len(data)} bytes); replace or remove it")
    return pixels


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's messages on stderr: the caller raises one line instead."""
    logging: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, or 4
    before = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


_SILENT = 0


@contextmanager
def opencv_name(path: Path) -> Iterator[str]:
    """The name by which OpenCV, silenced, can open the file: it crashes on one that is not UTF-8 (measured, 5.0)."""
    with quiet_opencv(), path.open("rb") as file:
        is_text = not any("\ud800" <= letter <= "\udfff" for letter in str(path))
        yield str(path) if is_text else f"/dev/fd/{file.fileno()}"


def decode_still(data: bytes) -> Pixels | None:
    """Decode a picture as (H, W, 3) uint8 BGR; None if it is truncated or no picture OpenCV can decode."""
    if _is_truncated(data):
        return None
    with quiet_opencv():
        try:
            return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        except (cv2.error, TypeError):  # imdecode returns None if it has no decoder
            return None


def _is_truncated(data: bytes) -> bool:
    """True if the end marker is missing. OpenCV before 5 fills the missing part of a JPEG or PNG with grey silently.

    Anything may follow the marker: a motion photo's video, a second picture, padding.
    """
    if data.startswith(b"\xff\xd8"):
        return data.find(b"\xff\xd9", _jpeg_scan(data)) < 0
    return data.startswith(b"\x89PNG") and _PNG_END not in data


_PNG_END = b"IEND\xaeB`\x82"
"""The type of a PNG's last chunk, which is empty, and its checksum."""


def _jpeg_scan(data: bytes) -> int:
    """Return where a JPEG's scan begins (ITU-T T.81, B.1); a thumbnail in a segment before it has an end of its own."""
    position = 2
    while data[position : position + 1] == b"\xff" and data[position : position + 2] != b"\xff\xda":
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
    return position
