"""What live streams need as files do: upright pictures, square pixels, whole frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.url import Url
from stream.capture import stream_feed
from stream.capture.reader import DisconnectedError
from stream.capture.stream_feed import StreamFeed
from stream.element import Context
from stream.elements import rtspsrc
from stream.elements.rtspsrc import Rtspsrc
from stream.testing.videos import read_number, write_video
from tests.stream.capture.interlaced import combing, moving_bar
from tests.stream.capture.turned import Pixels, encode, is_upright


def read_all(feed: StreamFeed) -> list[Pixels]:
    """Every picture until the stream ends; a file stands for the stream."""
    pictures = []
    try:
        while True:
            picture = feed.read().picture
            slot = np.empty(picture.shape, np.uint8)
            picture.copy_to(slot)
            pictures.append(slot)
    except DisconnectedError:
        return pictures
    finally:
        feed.close()


def open_feed(path: Path, monkeypatch: pytest.MonkeyPatch) -> StreamFeed:
    monkeypatch.setattr(stream_feed.Backlog, "includes", lambda *_: False)  # all of a file is there at once
    return StreamFeed(Url(str(path)), {}, 5.0, 5.0, Context())


def test_interlaced_frames_of_oblong_pixels_become_whole_and_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [moving_bar(number) for number in range(8)]
    options = {"x264-params": "interlaced=1:bframes=0"}
    write_video(tmp_path / "a.ts", pictures, options=options, aspect=Fraction(2, 1))
    found = read_all(open_feed(tmp_path / "a.ts", monkeypatch))
    assert {pixels.shape for pixels in found} == {(240, 640, 3)}
    assert [read_number(pixels[:, ::2]) for pixels in found] == list(range(7)), "the last is lost with the connection"
    assert max(map(combing, found)) < 5 < combing(pictures[0])


def test_motion_jpeg_with_exif_is_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with av.open(str(tmp_path / "a.mjpeg"), "w") as output:
        stream: Any = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for number in range(3):
            packet = av.Packet(encode(".jpg", 6))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            output.mux(packet)
    found = read_all(open_feed(tmp_path / "a.mjpeg", monkeypatch))
    assert len(found) == 3
    assert all(map(is_upright, found))


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("RTSP://USER:Pa:Ss@Host/Path", "rtsp://USER:Pa:Ss@Host/Path"),
        ("Http://h/A:B", "http://h/A:B"),
        ("rtsp://h/x", "rtsp://h/x"),
    ],
)
def test_a_scheme_in_capitals_is_opened_in_lower_case(monkeypatch: pytest.MonkeyPatch, url: str, opened: str) -> None:
    """FFmpeg knows lower case only."""
    calls: list[Any] = []
    monkeypatch.setattr(rtspsrc, "StreamFeed", lambda *arguments: calls.append(arguments))
    with Rtspsrc(url=Url(url)) as source:
        source.connect()
    ((url_opened, options, *_),) = calls
    assert url_opened.reveal() == opened
    assert ("rtsp_transport" in options) == opened.startswith("rtsp")
