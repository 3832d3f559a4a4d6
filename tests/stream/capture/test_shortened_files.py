"""Files that lack bytes at their end: cut before, or while they are read."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.capture.playlist import Playlist
from stream.capture.transport_packets import count_odd_bytes
from stream.capture.video_file import VideoFile
from stream.errors import SourceError
from stream.testing.videos import write_video
from tests.stream.capture.reading import read

_COUNT = 20
_CODECS = {"avi": "mpeg4", "flv": "flv", "gif": "gif", "webm": "libvpx", "wmv": "wmv2", "mpg": "mpeg2video"}


def draw_pictures() -> list[NDArray[np.uint8]]:
    """Noise: many bytes, of which FFmpeg reads only a part ahead."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(_COUNT)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts", "avi", "flv", "gif", "wmv", "mpg"])
@pytest.mark.parametrize("share", [0, 0.5], ids=["emptied", "halved"])
def test_a_file_that_is_cut_while_it_is_read_is_damaged(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"clip.{suffix}"
    pixels = "rgb8" if suffix == "gif" else "yuv420p"
    write_video(path, draw_pictures(), codec=_CODECS.get(suffix, "libx264"), pix_fmt=pixels)
    with VideoFile(path) as video:
        shots = video.shots()
        next(shots)
        size = path.stat().st_size
        rest = round(share * size)
        os.truncate(path, rest)
        with pytest.raises(
            SourceError, match=f"frames.*: it was cut from {size:,} to {rest:,} bytes while it was read; "
        ):
            list(shots)


@pytest.mark.parametrize("mode", ["0", "1"], ids=["ts", "m2ts"])
def test_a_transport_stream_that_ends_within_a_packet_may_lack_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    path = tmp_path / "clip.ts"
    write_video(path, draw_pictures(), codec="mpeg2video", format_options={"mpegts_m2ts_mode": mode})
    whole, size = path.read_bytes(), 192 if mode == "1" else 188
    assert read(path, whole) == (_COUNT, "")
    assert not caplog.messages
    _, error = read(path, whole[:-100])
    assert count_odd_bytes(path) == size - 100
    assert error or f"it ends with a part of a packet ({size - 100} bytes)" in caplog.text


@pytest.mark.parametrize("rest", [0, 1, 2, 6, 17])
@pytest.mark.parametrize("number", [1, 2])
def test_a_tiff_that_is_cut_within_a_directory_lacks_pages(tmp_path: Path, number: int, rest: int) -> None:
    path = tmp_path / "pages.tif"
    assert cv2.imwritemulti(str(path), draw_pictures()[:3])
    whole = path.read_bytes()
    assert len(list(Playlist((path,), 25, "error").shots())) == 3
    at = int.from_bytes(whole[4:8], "little")
    for _ in range(number):
        at += 2 + 12 * int.from_bytes(whole[at : at + 2], "little")
        at = int.from_bytes(whole[at : at + 4], "little")
    path.write_bytes(whole[: at + rest])
    with pytest.raises(SourceError, match=r"pages.tif' is truncated"):
        list(Playlist((path,), 25, "error").shots())


def test_a_webp_that_lacks_frames_is_damaged(tmp_path: Path) -> None:
    path, animation = tmp_path / "a.webp", cv2.Animation()
    animation.frames, animation.durations = draw_pictures()[:4], [40] * 4
    assert cv2.imwriteanimation(str(path), animation)
    whole = path.read_bytes()
    at = whole.rindex(b"ANMF")
    path.write_bytes(whole[:at])
    with pytest.raises(SourceError, match=r"a.webp'.*; (copy|replace)"):
        list(Playlist((path,), 25, "error").shots())
