"""Still pictures: JPEG, PNG, TIFF, WebP and whatever else OpenCV decodes, made 8-bit BGR and upright (EXIF)."""

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
    """True where the name says that the file is one picture."""
    return path.suffix.lower() in STILL_SUFFIXES


def read_still(path: Path) -> Pixels:
    """The picture in ``path`` as (H, W, 3) uint8 BGR; 16 bits become 8, grey and CMYK become BGR, alpha is left away.

    Raises :class:`SourceError` when it cannot be read, is no picture, or was cut off.
    """
    check_readable(path)
    data = path.read_bytes()
    if _is_cut_off(data):
        raise SourceError(f"{str(path)!r} was cut off: its end is missing ({len(data)} bytes); copy it again")
    pixels = _decoded(data)
    if pixels is None:
        raise SourceError(f"{str(path)!r} is no picture that can be decoded ({len(data)} bytes); replace or remove it")
    return pixels


def check_readable(path: Path) -> None:
    """Raises :class:`SourceError` when a file cannot be opened or is empty."""
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
    """OpenCV says nothing on stderr: what went wrong is told in one line, by us."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _decoded(data: bytes) -> Pixels | None:
    with quiet_opencv():
        try:
            return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        except (cv2.error, TypeError):  # None where it finds no decoder
            return None


def _is_cut_off(data: bytes) -> bool:
    """Before OpenCV 5, what a cut JPEG or PNG lacks was filled with grey without a word: look for the end mark."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-_TAIL:]
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-_TAIL:]


_TAIL = 64 * 1024
"""How far from the end an end mark is looked for: some cameras append a thumbnail or padding behind it."""
