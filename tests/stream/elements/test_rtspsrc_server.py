"""``rtspsrc`` with a real RTSP server, GStreamer's, run by the system's Python; skipped where GStreamer is missing."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engines.url import Url
from stream.elements.rtspsrc import Rtspsrc
from stream.messages import Frame
from stream.testing.videos import numbered_picture, read_number, write_video
from tests.stream.live_sources import catch_error, count, until


class RtspServer:
    """``rtsp_server.py`` of the shared tools, which loops an H.264 clip."""

    def __init__(self, script: Path) -> None:
        self._script = script
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://admin:hunter2@127.0.0.1:{self.port}/test"

    def start(self, clip: Path) -> None:
        command = ["/usr/bin/python3", str(self._script), str(clip), "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert "access units" in self._process.stdout.readline()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def rtsp(shared: Path) -> Iterator[RtspServer]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    python = Path("/usr/bin/python3")
    if not python.exists() or subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode:
        pytest.skip("no RTSP server: the system's Python lacks GStreamer's (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    server = RtspServer(shared / "tools" / "rtsp_server.py")
    yield server
    server.kill()


@pytest.fixture
def barcode(shared: Path) -> Path:
    return shared / "data" / "rtsp" / "juggle_barcode_720p24.mp4"


def steps(frames: list[Frame]) -> set[tuple[int, int]]:
    """The increments of ``seq`` and of the number in the picture, from frame to frame."""
    numbers = [(frame.seq, read_number(frame.pixels)) for frame in frames]
    assert all(number is not None for _, number in numbers), "a picture is broken"
    pairs = pairwise(numbers)
    return {(after[0] - before[0], (after[1] - before[1]) % 247) for before, after in pairs}  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_no_frame_of_a_real_stream_is_lost_or_broken(rtsp: RtspServer, barcode: Path, transport: Any) -> None:
    rtsp.start(barcode)
    frames = until(Rtspsrc(url=Url(rtsp.url), transport=transport, max_items=200), count(72))
    assert steps(frames) == {(1, 1)}
    rate = 71e9 / (frames[-1].pts_ns - frames[0].pts_ns)
    assert rate == pytest.approx(24, rel=0.01), "the stream's own clock, whatever the network does"


@pytest.mark.slow
def test_a_restarted_server_with_another_resolution_is_reconnected(
    rtsp: RtspServer, barcode: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    small = tmp_path / "small.mp4"
    write_video(small, [numbered_picture(number) for number in range(50)])
    rtsp.start(barcode)

    def changes(frames: list[Frame]) -> bool:
        if len(frames) == 10 and frames[-1].size == (1280, 720):
            rtsp.kill()
            rtsp.start(small)
        return bool(frames) and frames[-1].size == (320, 240)

    frames = until(Rtspsrc(url=Url(rtsp.url), max_items=5, backoff_s=0.1), changes)
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    numbers = [frame.seq for frame in frames]
    assert numbers == sorted(set(numbers))
    assert "is back after" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.slow
def test_a_frozen_server_is_detected_and_used_when_it_continues(
    rtsp: RtspServer, barcode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rtsp.start(barcode)
    frozen_at: list[int] = []

    def freezes_and_continues(frames: list[Frame]) -> bool:
        if len(frames) == 30 and not frozen_at:
            frozen_at.append(len(frames))
            rtsp.signal(signal.SIGSTOP)
        if "no picture for" in caplog.text:
            rtsp.signal(signal.SIGCONT)
            return any(after.pts_ns - before.pts_ns > 1e9 for before, after in pairwise(frames))
        return False

    frames = until(
        Rtspsrc(url=Url(rtsp.url), stall_timeout_s=1.0, open_timeout_s=2.0, backoff_s=0.1), freezes_and_continues
    )
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))


def test_a_wrong_path_on_a_real_server_raises(rtsp: RtspServer, barcode: Path) -> None:
    rtsp.start(barcode)
    message = catch_error(Rtspsrc(url=Url(rtsp.url + "ing")))
    assert f"cannot reach 'rtsp://***@127.0.0.1:{rtsp.port}/testing': the path does not exist" in message
