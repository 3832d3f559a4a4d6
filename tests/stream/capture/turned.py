"""Pictures that are stored lying or mirrored, and say so in EXIF, for the tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: np.rot90(upright, 2),
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright.transpose(1, 0, 2), 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""How a picture is stored that is upright after each EXIF orientation (TIFF 6.0, tag 274)."""


def quadrants(width: int = 128, height: int = 96) -> Pixels:
    """An upright picture with red, green, blue and white quarters, which each turn puts elsewhere."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:] = (0, 0, 255), (0, 255, 0)
    pixels[top:, :left], pixels[top:, left:] = (255, 0, 0), (255, 255, 255)
    return pixels


def is_upright(pixels: Pixels, width: int = 128, height: int = 96) -> bool:
    """True for :func:`quadrants`, but for what compression does to the edges."""
    if pixels.shape != (height, width, 3):
        return False
    return bool(np.abs(pixels.astype(int) - quadrants(width, height)).mean() < 12)


def exif(orientation: int) -> bytes:
    """A TIFF header with the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def encode(suffix: str, orientation: int) -> bytes:
    """:func:`quadrants`, stored as ``orientation`` undoes it, in a format that holds EXIF."""
    stored = np.ascontiguousarray(STORED[orientation](quadrants()))
    metadata = np.frombuffer(exif(orientation), np.uint8)
    is_written, data = cv2.imencodeWithMetadata(suffix, stored, [cv2.IMAGE_METADATA_EXIF], [metadata])
    assert is_written
    return bytes(data)


def encode_tiff(orientation: int) -> bytes:
    """The same as a TIFF, whose first directory gets the tag, at the end of the file."""
    data = bytearray(cv2.imencode(".tiff", np.ascontiguousarray(STORED[orientation](quadrants())))[1])
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags = {
        struct.unpack_from(f"{order}H", data, at + 2 + 12 * n)[0]: data[at + 2 + 12 * n :][:12] for n in range(count)
    }
    tags[0x0112] = bytearray(struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0))
    struct.pack_into(f"{order}I", data, 4, len(data))
    return bytes(data + struct.pack(f"{order}H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags)) + bytes(4))
