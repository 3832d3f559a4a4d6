"""Matroska files that were damaged in the middle, which FFmpeg reads to an end without an error."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from stream.capture.matroska import MatroskaWalk
from tests.stream.capture.reading import read

_SEGMENT = bytes.fromhex("18538067")
_CUES = bytes.fromhex("1c53bb6b")
_COUNT = 150


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for _ in range(_COUNT):
            picture = noise.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def without_size(clip: bytes) -> bytes:
    """The clip as a live recording, whose segment has no size."""
    at = clip.index(_SEGMENT) + len(_SEGMENT)
    assert clip[at] == 1
    return clip[:at] + b"\x01" + b"\xff" * 7 + clip[at + 8 :]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("filling", [b"\0", b"\xa5"], ids=["zeros", "other bytes"])
def test_a_hole_is_damage_before_the_frames_behind_it(
    clip: bytes, tmp_path: Path, share: float, filling: bytes
) -> None:
    at, size = round(len(clip) * share), 12_000  # two or three frames
    for whole in (clip, without_size(clip)):
        count, error = read(tmp_path / "hole.mkv", whole[:at] + filling * size + whole[at + size :])
        assert "is damaged after" in error, share
        assert abs(count - _COUNT * share) < 12


def test_sound_files_are_sound_whatever_is_behind_them(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    assert read(path, clip) == read(path, without_size(clip)) == read(path, clip + bytes(5000)) == (_COUNT, "")
    assert read(path, clip + clip) == (2 * _COUNT, "")


def test_a_recording_that_was_broken_off_is_sound_and_a_file_that_was_cut_off_is_not(
    clip: bytes, tmp_path: Path
) -> None:
    for length in range(len(clip) // 2, len(clip) // 2 + 20_000, 3_001):
        count, error = read(tmp_path / "live.mkv", without_size(clip)[:length])
        assert (error, abs(count - _COUNT * length / len(clip)) < 12) == ("", True)
        assert "in its header: it ends after" in read(tmp_path / "cut.mkv", clip[:length])[1]


def test_damage_behind_the_last_packet_is_found_at_the_end(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(clip.replace(_CUES, bytes(len(_CUES))))
    walk = MatroskaWalk(path)
    assert walk.is_sound(until=len(clip) // 2)
    assert not walk.is_sound()
    walk.close()
