from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from stream.errors import PropertyError
from stream.output.video_writer import CODECS, VideoFile

PICTURE = np.zeros((48, 64, 3), np.uint8)
SUFFIXES = sorted(CODECS)


def write_times(path: Path, times_ms: list[int]) -> list[int]:
    """Write a picture at each time, and read the times of the pictures in the file, from the first."""
    video = VideoFile(path)
    for seq, at_ms in enumerate(times_ms):
        video.add(PICTURE, seq, at_ms * 10**6)
    video.close()
    with av.open(str(path)) as container:
        found = [float(frame.time or 0) for frame in container.decode(video=0)]
    return [round((at - found[0]) * 1000) for at in found]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pause_ms", [10_000_000, 100_000_000], ids=["three hours", "a day"])
def test_a_camera_that_was_away_leaves_no_such_pause(
    tmp_path: Path, suffix: str, pause_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    after = pause_ms + 80
    assert write_times(path, [0, 40, 80, after, after + 40, after + 520]) == [0, 40, 80, 120, 160, 640]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: a pause of {pause_ms // 1000} s is left out"
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pause_after_the_first_picture_is_not_taken_for_the_frame_rate(tmp_path: Path, suffix: str) -> None:
    found = write_times(tmp_path / f"a{suffix}", [0, 10_000_000, 10_000_100])
    assert found == pytest.approx([0, 33, 133], abs=1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pause_of_minutes_is_kept(tmp_path: Path, suffix: str) -> None:
    times_ms = [0, 40, 80, 500_000, 500_040]
    assert write_times(tmp_path / f"a{suffix}", times_ms) == times_ms


@pytest.mark.parametrize("name", ["12:30.mp4", "~x.mkv", "-a.avi", "tcp:a.webm", "a%03d.mov"])
def test_a_video_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    video = VideoFile(Path(name))
    video.add(PICTURE, 0, 0)
    video.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Path(name).stat().st_size > 100


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_pictures_too_large_for_the_encoder_are_said_and_leave_no_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wide{suffix}"
    video = VideoFile(path)
    video.add(np.zeros((20, 70_000, 3), np.uint8), 0, 0)
    for _ in range(2):
        with pytest.raises(
            PropertyError, match=r"wide\.\w+ would be 70,000 x 20 px, which its encoder \w+ does not take"
        ):
            video.add(np.zeros((20, 70_000, 3), np.uint8), 1, 40_000_000)
    with pytest.raises(PropertyError):
        video.close()
    assert list(tmp_path.iterdir()) == []
