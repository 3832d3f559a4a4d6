"""Frames of videos by their numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets.clips import PictureFile
from engines.datasets.pictures import read_pictures
from engines.datasets.videos import frame_times, read_frames, video_size
from engines.errors import EngineError


def as_opencv(path: Path) -> list[np.ndarray]:
    """All frames, decoded from the beginning."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("name", ["video_0.mov", "video_90.mov", "video_180.mov", "video_270.mov"])
def test_rotated_videos_are_read_upright(shared: Path, name: str) -> None:
    path = shared / "data/clips_robust" / name
    whole = as_opencv(path)
    assert len(frame_times(path)) == len(whole)
    assert video_size(path) == (whole[0].shape[1], whole[0].shape[0])
    np.testing.assert_array_equal(read_frames(path, [2])[2], whole[2])


def test_b_frames_are_found_by_their_number_in_presentation_order(shared: Path) -> None:
    path = shared / "data/clips/mmpose_demo.mp4"
    whole = as_opencv(path)
    for number in (4, 0, 2):
        np.testing.assert_array_equal(read_frames(path, [number])[number], whole[number])


def test_a_number_beyond_the_end_and_a_file_that_is_not_a_video_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for grey in (0, 100, 200):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    # MPEG-4 is lossy, by a few grey levels on a plain picture.
    assert read_frames(path, [1])[1].mean() == pytest.approx(100, abs=4)
    with pytest.raises(EngineError, match=r"a\.mp4: there is no frame 3; it has 3, counted from 0"):
        read_frames(path, [1, 3])
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(EngineError, match=r"b\.mp4: it is not a video"):
        frame_times(tmp_path / "b.mp4")


def test_a_broken_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(EngineError, match=r"a\.jpg: it is not a picture"):
        read_pictures([PictureFile(tmp_path / "a.jpg")])
    with pytest.raises(EngineError, match=r"b\.jpg: there is no such picture"):
        read_pictures([PictureFile(tmp_path / "b.jpg")])
