"""Pictures that a format cannot hold are an error of one line, and never an empty file."""

from __future__ import annotations

import numpy as np
import pytest

from stream.errors import PropertyError
from stream.output.pictures import encode
from stream.recording.video_encoder import encode_jpeg


@pytest.mark.parametrize(
    ("suffix", "width", "line"),
    [
        (".jpg", 65_501, "hall is 65,501 x 1 px, and a side of a .jpg has at most 65,500 px; try another"),
        (".JPEG", 65_536, "hall is 65,536 x 1 px, and a side of a .JPEG has at most 65,500 px; try another"),
        (".webp", 16_384, "hall is 16,384 x 1 px, and a side of a .webp has at most 16,383 px; try another"),
        (".png", 1_000_001, "hall is 1,000,001 x 1 px, and a side of a .png has at most 1,000,000 px; try another"),
        (".docx", 2, "hall is 2 x 1 px, which OpenCV cannot encode as .docx; try another"),
        ("", 2, "hall is 2 x 1 px, which OpenCV cannot encode as a file without a suffix; try another"),
        (".jpg", 0, "hall is 0 x 1 px, which OpenCV cannot encode as .jpg; try another"),
    ],
)
def test_what_a_format_cannot_hold_is_said(
    suffix: str, width: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PropertyError) as caught:
        encode(np.zeros((1, width, 3), np.uint8), "hall", suffix=suffix, remedy="try another")
    assert str(caught.value) == line
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("suffix", "width"), [(".jpg", 65_500), (".webp", 16_383), (".png", 1_000_000)])
def test_the_limits_are_what_can_be_written(suffix: str, width: int) -> None:
    assert encode(np.zeros((1, width, 3), np.uint8), "hall", suffix=suffix, remedy="")


def test_a_recording_names_the_frame_that_is_too_large() -> None:
    with pytest.raises(PropertyError, match=r"frame 7 is 65,501 x 1 px, .*; scale the frames down, or set video=none"):
        encode_jpeg(np.zeros((1, 65_501, 3), np.uint8), "frame 7")
