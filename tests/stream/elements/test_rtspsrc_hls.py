"""``rtspsrc`` with a live HLS playlist that grows on a web server: played out at the pace of its own times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engines.url import Url
from stream.capture.play_out import PlayOut
from stream.elements.rtspsrc import Rtspsrc
from stream.testing.videos import numbered_picture, read_number
from tests.stream.live_sources import catch_error, count, until

FPS, FRAMES, SEGMENT_S = 20, 40, 0.25
SHOWN = FRAMES - 2
"""FFmpeg gives a frame out when the next ones begin."""

BEGIN = 3
"""So many segments are there at first."""


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight segments of five numbered frames, as FFmpeg writes them."""
    import av

    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": str(SEGMENT_S), "hls_list_size": "0", "hls_segment_filename": str(folder / "%d.ts")}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as output:
        stream: Any = output.add_stream("libx264", rate=FPS, options={"g": "5", "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_picture(number), format="bgr24")))
        output.mux(stream.encode(None))
    assert len(list(folder.glob("*.ts"))) == FRAMES / FPS / SEGMENT_S
    return folder


class Broadcast(SimpleHTTPRequestHandler):
    """Serves ``live.m3u8``, which grows by a segment each ``SEGMENT_S`` from the first request on; ``ended.m3u8``, all
    at once; ``master.m3u8``, which offers two qualities; and the segments."""

    requested: list[str]
    began_s: float | None = None

    def do_GET(self) -> None:
        self.requested.append(self.path)
        names = {
            "/live.m3u8": self.live,
            "/low.m3u8": lambda: self.live("low-"),
            "/ended.m3u8": self.ended,
            "/master.m3u8": self.master,
        }
        if self.path not in names:
            self.path = self.path.replace("low-", "")
            return super().do_GET()
        body = names[self.path]().encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.apple.mpegurl")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def live(self, prefix: str = "") -> str:
        type(self).began_s = self.began_s or time.monotonic()
        assert self.began_s is not None
        there = min(BEGIN + int((time.monotonic() - self.began_s) / SEGMENT_S), int(FRAMES / FPS / SEGMENT_S))
        return self.playlist(there, prefix)

    def ended(self) -> str:
        return self.playlist(8) + "#EXT-X-ENDLIST\n"

    def master(self) -> str:
        qualities = [f"#EXT-X-STREAM-INF:BANDWIDTH={rate}\n{name}.m3u8\n" for rate, name in ((9, "live"), (5, "low"))]
        return "#EXTM3U\n" + "".join(qualities)

    def playlist(self, there: int, prefix: str = "") -> str:
        head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
        return head + "".join(f"#EXTINF:{SEGMENT_S},\n{prefix}{number}.ts\n" for number in range(there))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def broadcasting(folder: Path) -> Iterator[tuple[str, type[Broadcast]]]:
    class Handler(Broadcast):
        requested: list[str] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://me:geheim@127.0.0.1:{server.server_address[1]}", Handler
        server.shutdown()
        thread.join()


def test_every_frame_of_a_live_playlist_comes_at_its_time(segments: Path) -> None:
    with broadcasting(segments) as (address, _):
        frames = until(Rtspsrc(url=Url(f"{address}/live.m3u8"), max_items=20), count(SHOWN))
    assert [read_number(frame.pixels) for frame in frames] == [frame.seq for frame in frames] == list(range(SHOWN))
    for first, later in zip(frames, frames[FPS:], strict=False):
        assert (later.wall_ns - first.wall_ns) / 1e9 > 0.7, "ten frames are one second, and do not come in a burst"
        assert later.pts_ns - first.pts_ns > 0.7e9


def test_a_playlist_that_has_ended_is_not_live(segments: Path) -> None:
    with broadcasting(segments) as (address, _):
        message = catch_error(Rtspsrc(url=Url(f"{address}/ended.m3u8")))
    assert "ended.m3u8': its playlist has ended, so nothing live comes from it; " in message
    assert "geheim" not in message


def test_only_the_quality_that_is_shown_is_loaded(segments: Path) -> None:
    with broadcasting(segments) as (address, server):
        until(Rtspsrc(url=Url(f"{address}/master.m3u8")), count(30))
    loaded = {path[1:] for path in server.requested if path.endswith(".ts")}
    shown, other = ({name for name in loaded if name.startswith("low-") is is_low} for is_low in (False, True))
    if len(other) > len(shown):  # both are equally good, so FFmpeg may choose either
        shown, other = other, shown
    assert len(other) < len(shown) - 1, "no more than it looked into when it opened the playlist"


# -- the clock of the play-out ----------------------------------------------------------------------------------------

MS = 1_000_000


def play(*arrivals: tuple[int, int]) -> list[int]:
    """When frames are due, in ms: each is a moment of arrival and its own time, in ms."""
    now = [0]
    play_out = PlayOut(lambda: now[0])
    due = []
    for arrived, pts in arrivals:
        now[0] = max(now[0], arrived * MS)
        due.append(play_out.place(pts * MS) // MS)
        now[0] = max(now[0], due[-1] * MS)
    return due


def test_a_burst_is_spread() -> None:
    assert play(*((1000, 5000 + 40 * number) for number in range(5))) == [1000, 1040, 1080, 1120, 1160]


def test_a_frame_that_is_a_little_late_delays_no_other() -> None:
    assert play((0, 0), (140, 40), (140, 80), (160, 160)) == [0, 40, 80, 160]


def test_what_waited_for_its_file_is_played_from_then_on() -> None:
    assert play((0, 0), (3000, 40), (3000, 80), (3000, 120)) == [0, 3000, 3040, 3080]


@pytest.mark.parametrize("pts", [0, 90_000])
def test_another_clock_begins_anew(pts: int) -> None:
    assert play((0, 5000), (40, 5040), (60, pts), (60, pts + 40)) == [0, 40, 60, 100]
