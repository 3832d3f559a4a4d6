from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream.capture.deinterlacing import Deinterlacer
from stream.capture.video_file import VideoFile
from stream.testing.videos import read_number, write_video
from tests.stream.capture.interlaced import combing, moving_bar
from tests.stream.capture.turned import Pixels

INTERLACED = [
    ("a.ts", "mpeg2video", {"flags": "+ildct+ilme"}),
    ("a.mkv", "libx264", {"x264-params": "interlaced=1:bframes=0"}),
]


def read(path: Path) -> list[tuple[Pixels, int, int]]:
    result = []
    with VideoFile(path) as video:
        for shot in video.shots():
            slot = np.empty(shot.picture.shape, np.uint8)
            shot.picture.copy_to(slot)
            result.append((slot, shot.begin_ns, shot.duration_ns))
    return result


@pytest.mark.parametrize(("name", "codec", "options"), INTERLACED)
def test_interlaced_frames_become_whole_pictures(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    frames = [moving_bar(number) for number in range(8)]
    write_video(tmp_path / name, frames, codec=codec, options=options)
    read_back = read(tmp_path / name)
    assert [read_number(pixels) for pixels, _, _ in read_back] == list(range(8)), "none is lost and none is added"
    assert [(begin // 10**6, length // 10**6) for _, begin, length in read_back] == [(40 * n, 40) for n in range(8)]
    assert combing(frames[4]) > 30
    assert max(combing(pixels) for pixels, _, _ in read_back) < 5


def test_progressive_frames_are_untouched_and_not_delayed(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [moving_bar(number) for number in range(3)])
    assert combing(read(tmp_path / "a.mp4")[1][0]) > 30, "it is what the file holds"
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        frames, passing = list(container.decode(stream)), Deinterlacer(stream, "a")
        assert [list(passing.process(frame, 7)) for frame in frames] == [[(frame, 7)] for frame in frames]
        assert list(passing.flush()) == []


def interlaced(sizes: Iterable[tuple[int, int]]) -> list[Any]:
    """Interlaced frames of the given sizes."""
    frames = []
    for number, (width, height) in enumerate(sizes):
        encoder: Any = av.CodecContext.create("mpeg2video", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.options = {"flags": "+ildct+ilme"}
        picture = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="bgr24")
        picture = picture.reformat(format="yuv420p")
        picture.pts = 0
        decoder: Any = av.CodecContext.create("mpeg2video", "r")
        packets = [*encoder.encode(picture), *encoder.encode(None)]
        (frame,) = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
        frame.pts, frame.time_base = number, Fraction(1, 25)
        frames.append(frame)
    return frames


def test_the_size_may_change_within_a_stream() -> None:
    sizes = [(320, 240)] * 3 + [(160, 120)] * 2 + [(320, 240)]
    deinterlacer = Deinterlacer(None, "a")
    out: list[tuple[Any, int]] = []
    for captured_ns, frame in enumerate(interlaced(sizes)):
        assert frame.interlaced_frame
        out += deinterlacer.process(frame, captured_ns)
    out += deinterlacer.flush()
    assert [(frame.width, frame.height) for frame, _ in out] == sizes
    assert [(round(frame.pts * frame.time_base * 25), captured_ns) for frame, captured_ns in out] == [
        (n, n) for n in range(6)
    ]
