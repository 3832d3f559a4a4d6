"""Pictures of a recording that cannot be decoded are none, whatever their bytes say."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from stream.recording.picture_decoder import PictureDecoder


def make_jpeg(height: int, width: int) -> bytes:
    """A picture of 16x16 px that says that it has another size."""
    content = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("jpeg", b""),
        ("jpeg", bytes(40)),
        ("jpeg", make_jpeg(65500, 65500)),
        ("h264", b""),
        ("h264", b"\0\0\0\1\x67" + bytes(50)),
        ("none", b"x"),
    ],
    ids=["empty", "zeros", "huge", "empty-h264", "noise-h264", "format"],
)
def test_what_is_no_picture_is_none(form: str, data: bytes) -> None:
    assert PictureDecoder().decode(form, data) is None


def test_a_jpeg_is_decoded() -> None:
    picture = PictureDecoder().decode("jpeg", make_jpeg(16, 16))
    assert picture is not None
    assert picture.shape == (16, 16, 3)
