"""Files with a few wrong bytes: each is read or refused in one line, never with another exception."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from stream.capture.playlist import Playlist
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, write_video
from tests.stream.capture.test_heif_grid import make_grid
from tests.stream.capture.turned import encode, quadrants

MUTATIONS = 15


def make_file(path: Path) -> Path:
    pictures = [numbered_picture(number) for number in range(3)]
    if path.suffix in (".mkv", ".mp4", ".ts", ".avi"):
        write_video(path, pictures, codec="mpeg4" if path.suffix == ".avi" else "libx264")
    elif path.suffix == ".tif":
        assert cv2.imwritemulti(str(path), pictures)
    elif path.suffix == ".jpg":
        path.write_bytes(encode(".jpg", 6))
    elif path.suffix == ".heic":
        path.write_bytes(make_grid(quadrants(120, 90)))
    else:
        animation = cv2.Animation()
        animation.frames, animation.durations = pictures, [40] * 3
        assert cv2.imwriteanimation(str(path), animation)
    return path


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Change one, three or twenty bytes, more often near the beginning, and cut the end off in one of three."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 3, 20))):
        changed[dice.randrange(min(len(data), dice.choice((64, 1000, len(data)))))] = dice.randrange(256)
    return bytes(changed[: dice.randrange(1, len(data))] if dice.random() < 1 / 3 else changed)


@pytest.mark.parametrize(
    "suffix", [".mkv", ".mp4", ".ts", ".avi", ".tif", ".jpg", ".heic", ".webp", ".png", ".avif", ".gif"]
)
def test_wrong_bytes_are_refused_in_one_line_or_read(tmp_path: Path, suffix: str) -> None:
    path, dice = make_file(tmp_path / f"a{suffix}"), random.Random(suffix)
    whole, refusals = path.read_bytes(), list[str]()
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(whole, dice))
        try:
            for shot in Playlist((path,), 25, "error").shots():
                shot.picture.copy_to(np.empty(shot.picture.shape, np.uint8))
        except SourceError as error:
            refusals.append(str(error))
    assert refusals, "none was damaged enough to say anything"
    assert not [line for line in refusals if "\n" in line or path.name not in line]


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_a_title_may_be_in_any_encoding(tmp_path: Path, suffix: str) -> None:
    """PyAV takes it for UTF-8, but older programs write what their system used."""
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "Küche"
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24").reformat(format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux([*stream.encode(frame), *stream.encode(None)])
    title, data = "Küche".encode(), path.read_bytes()
    assert title in data
    path.write_bytes(data.replace(title, "Küche ".encode("latin-1")))
    assert len(list(Playlist((path,), 25, "error").shots())) == 1
