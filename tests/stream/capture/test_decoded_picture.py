from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream.capture.video_file import VideoFile
from stream.testing.videos import numbered_picture, read_number, write_video
from tests.stream.capture.turned import Pixels, encode, is_upright


def read(path: Path) -> list[Pixels]:
    result = []
    with VideoFile(path) as video:
        for shot in video.shots():
            slot = np.empty(shot.picture.shape, np.uint8)
            shot.picture.copy_to(slot)
            result.append(slot)
    return result


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["avi", "mkv", "mjpeg"])
def test_motion_jpeg_with_exif_is_read_upright(tmp_path: Path, container: str, orientation: int) -> None:
    """Cameras write EXIF into every frame; PyAV does not know this kind of side data, and refuses all of a frame's."""
    path, data = tmp_path / f"a.{container}", encode(".jpg", orientation)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for number in range(3):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            output.mux(packet)
    frames = read(path)
    assert len(frames) == 3
    assert all(map(is_upright, frames))


def test_a_real_motion_jpeg_with_exif_is_read(shared: Path) -> None:
    assert [pixels.shape for pixels in read(shared / "cases" / "video" / "exif_mjpeg.avi")] == [(576, 576, 3)] * 8


@pytest.mark.parametrize("container", ["mp4", "ts", "mkv", "avi"])
@pytest.mark.parametrize(("aspect", "size"), [((4, 3), (427, 240)), ((8, 9), (320, 270)), ((1, 1), (320, 240))])
def test_pixels_come_square_and_nothing_is_lost(
    tmp_path: Path, container: str, aspect: tuple[int, int], size: tuple[int, int]
) -> None:
    path = tmp_path / f"a.{container}"
    codec = "mpeg4" if container == "avi" else "libx264"
    write_video(path, [numbered_picture(number) for number in range(3)], codec=codec, aspect=Fraction(*aspect))
    for number, pixels in enumerate(read(path)):
        assert (pixels.shape[1], pixels.shape[0]) == size
        # Back to the stored size, where the number's blocks are where they were written.
        rows = np.arange(240) * size[1] // 240
        columns = np.arange(320) * size[0] // 320
        assert read_number(pixels[rows][:, columns]) == number


def test_pixels_too_long_to_be_true_are_taken_for_square(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [numbered_picture(0)], aspect=Fraction(1, 100))
    assert read(tmp_path / "a.mp4")[0].shape == (240, 320, 3)
