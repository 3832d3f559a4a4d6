"""GIF files that were damaged in the middle, which FFmpeg reads to an end without an error."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from stream.capture.playlist import Playlist
from stream.errors import SourceError
from stream.testing.videos import write_video
from tests.stream.capture.reading import read

_COUNT = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.gif"
    noise = np.random.default_rng(0)
    write_video(
        path, [noise.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(_COUNT)], codec="gif", pix_fmt="rgb8"
    )
    return path.read_bytes()


def test_a_whole_file_is_sound_whatever_is_behind_it(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    assert read(path, clip) == read(path, clip + bytes(500)) == read(path, clip + b"junk;") == (_COUNT, "")
    assert read(path, clip + clip) == (2 * _COUNT, "")


@pytest.mark.parametrize("filling", [b"\0", b"\xa5", b""], ids=["zeros", "other bytes", "removed"])
@pytest.mark.parametrize("size", [1, 64, 3000])
def test_a_file_that_lacks_frames_is_damaged(clip: bytes, tmp_path: Path, filling: bytes, size: int) -> None:
    dice, reported = random.Random(size), 0
    for _ in range(20):
        at = dice.randrange(800, len(clip) - size)
        count, error = read(tmp_path / "clip.gif", clip[:at] + filling * size + clip[at + size :])
        assert count == _COUNT or "is damaged after" in error, at
        reported += bool(error)
    assert reported > 5 or size == 1


def test_the_frames_before_the_damage_come_and_none_behind_it(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    at = len(clip) // 2
    count, error = read(path, clip[:at] + bytes(600) + clip[at + 600 :])
    assert abs(count - _COUNT // 2) <= 1
    assert error == (
        f"{str(path)!r} is damaged after {count} frames: a part of it is overwritten or missing; copy or download it "
        "again, or read past the damage with damaged=warn"
    )


@pytest.mark.parametrize("cut", [1, 2, 500, 3000])
def test_a_file_whose_end_is_missing_is_damaged(clip: bytes, tmp_path: Path, cut: int) -> None:
    assert "is damaged after" in read(tmp_path / "clip.gif", clip[:-cut])[1]


def test_a_damaged_file_that_is_called_a_picture_is_damaged(clip: bytes, tmp_path: Path) -> None:
    path, at = tmp_path / "clip.jpg", len(clip) // 4
    path.write_bytes(clip[:at] + clip[at + 600 :])
    with pytest.raises(SourceError, match="is damaged after"):
        list(Playlist((path,), 25, "error").shots())
