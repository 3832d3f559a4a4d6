"""``rtspsrc`` with three kinds of camera: a fake of Motion JPEG over HTTP, a fake of RTSP, and a real RTSP server.

The real server is GStreamer's, run by the system's Python; its tests are skipped where GStreamer is missing.
"""

from __future__ import annotations

import base64
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from engines.url import Url
from stream.elements.rtspsrc import Backlog, Rtspsrc
from stream.errors import SourceError
from stream.messages import Frame
from stream.registry import make
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number, write_video

# Timeout for conditions that take a second or two on an idle machine and longer on a busy one.
TIMEOUT_S = 60.0


def until(source: Rtspsrc, is_done: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Collect frames until ``is_done``; fails if that does not happen."""
    frames: list[Frame] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    with source, closing(source.frames()) as items:  # type: ignore[type-var]
        for frame in items:
            frames += [] if frame is None else [frame]
            if is_done(frames):
                return frames
            assert time.monotonic() < deadline_s, f"only {len(frames)} frames within {TIMEOUT_S} s"
    raise AssertionError("the source ended")


def count(wanted: int) -> Callable[[list[Frame]], bool]:
    return lambda frames: len(frames) >= wanted


def catch_error(source: Rtspsrc) -> str:
    with pytest.raises(SourceError) as caught:
        until(source, count(10**9))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- Motion JPEG over HTTP --------------------------------------------------------------------------------------------


class MjpegCamera:
    """Sends ``pictures`` from number 0 to each client, then closes the connection, or stays open and silent."""

    def __init__(self, pictures: int, *, stays_open: bool = False, every_s: float = 0.01, answer: int = 200) -> None:
        self.pictures, self.stays_open, self.every_s, self.answer = pictures, stays_open, every_s, answer
        self.get_size: Callable[[int], tuple[int, int]] = lambda number: (320, 240)
        self.connections = 0
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://admin:hunter2@127.0.0.1:{self._server.server_port}/video?token=hunter2"

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name in the standard library
                pass

            def do_GET(self) -> None:
                camera.connections += 1
                self.send_response(camera.answer)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):  # the client has disconnected
                    camera.show(self.wfile.write)

        return Handler

    def show(self, write: Callable[[bytes], object]) -> None:
        for number in range(self.pictures if self.answer == 200 else 0):
            jpeg = cv2.imencode(".jpg", numbered_picture(number, self.get_size(number)))[1].tobytes()
            write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
            self.stopping.wait(self.every_s)
        if self.stays_open:
            self.stopping.wait(TIMEOUT_S)


@pytest.fixture
def mjpeg() -> Iterator[Callable[..., MjpegCamera]]:
    cameras: list[MjpegCamera] = []

    def start(*arguments: Any, **keywords: Any) -> MjpegCamera:
        cameras.append(MjpegCamera(*arguments, **keywords))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


def test_pictures_over_http_have_numbers_and_times(mjpeg: Any) -> None:
    camera = mjpeg(40, stays_open=True)
    before_ns = time.time_ns()
    frames = until(Rtspsrc(url=Url(camera.url), camera="hall", max_items=100), count(40))
    assert [read_number(frame.pixels) for frame in frames] == [frame.seq for frame in frames] == list(range(40))
    assert {frame.camera for frame in frames} == {"hall"}
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert all(before_ns <= frame.wall_ns <= frame.ledger["decoded"] <= time.time_ns() for frame in frames)


def test_a_stream_without_a_clock_gets_arrival_times(mjpeg: Any) -> None:
    frames = until(Rtspsrc(url=Url(mjpeg(10, stays_open=True, every_s=0.1).url), max_items=100), count(10))
    # Ten per second, where FFmpeg would assume 25; a busy machine may be slower, hardly faster.
    assert frames[-1].pts_ns > 0.7e9


def test_a_closed_connection_is_reopened_and_time_continues(mjpeg: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera = mjpeg(5)
    frames = until(Rtspsrc(url=Url(camera.url), max_items=100, backoff_s=0.05), count(12))
    assert [read_number(frame.pixels) for frame in frames[:10]] == [0, 1, 2, 3, 4] * 2
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert "retrying in" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_silent_camera_is_reconnected(mjpeg: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera = mjpeg(3, stays_open=True)
    frames = until(Rtspsrc(url=Url(camera.url), max_items=100, stall_timeout_s=0.4, backoff_s=0.05), count(6))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2, 0, 1, 2]
    assert camera.connections == 2
    assert "no picture for 0." in caplog.text


def test_frames_follow_a_change_of_resolution(mjpeg: Any) -> None:
    camera = mjpeg(20, stays_open=True)
    camera.get_size = lambda number: (320, 240) if number < 10 else (640, 360)
    frames = until(Rtspsrc(url=Url(camera.url), max_items=100), count(20))
    assert [frame.size for frame in frames] == [(320, 240)] * 10 + [(640, 360)] * 10
    assert [read_number(frame.pixels) for frame in frames] == list(range(20))


def test_a_slow_line_gets_the_newest_pictures_and_a_gap_in_their_numbers(mjpeg: Any) -> None:
    source = Rtspsrc(url=Url(mjpeg(300, stays_open=True).url), max_items=1)
    with source, closing(source.frames()) as items:  # type: ignore[type-var]
        frames = (frame for frame in items if frame)
        before = next(frames)
        time.sleep(1.0)
        next(frames)
        after = next(frames)
    # A hundred per second on an idle machine, and one second without a read.
    assert after.seq - before.seq > 10
    assert read_number(after.pixels) == after.seq


def test_num_frames_ends_the_stream(mjpeg: Any) -> None:
    source = Rtspsrc(url=Url(mjpeg(50, stays_open=True).url), num_frames=7)
    with source:
        assert sum(frame is not None for frame in source.frames()) == 7


def test_a_restarted_source_continues_after_its_last_number(mjpeg: Any) -> None:
    first, second = Rtspsrc(url=Url(mjpeg(5, stays_open=True).url)), Rtspsrc(url=Url(mjpeg(5, stays_open=True).url))
    before = until(first, count(2))[-1]
    second.context.memory, second.context.incarnation = first.context.memory, 1
    after = until(second, count(1))[0]
    assert after.seq > before.seq
    assert after.pts_ns > before.pts_ns


def test_fifty_reconnections_leak_no_thread_and_no_descriptor(mjpeg: Any) -> None:
    camera = mjpeg(1, every_s=0)
    source = Rtspsrc(url=Url(camera.url), max_items=100, backoff_s=0.001, max_backoff_s=0.001)
    counts: list[tuple[int, int]] = []

    def has_reconnected(frames: list[Frame]) -> bool:
        if len(frames) == 10 and not counts:
            counts.append(_threads_and_descriptors())
        return len(frames) >= 60

    until(source, has_reconnected)
    counts.append(_threads_and_descriptors())
    # The camera's own threads come and go in this process: a few more or less at the moment of counting.
    assert abs(counts[1][0] - counts[0][0]) < 10
    assert abs(counts[1][1] - counts[0][1]) < 10


def _threads_and_descriptors() -> tuple[int, int]:
    return threading.active_count(), psutil.Process().num_fds()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            401,
            "refuses this user and password (Server returned 401 Unauthorized (authorization failed)); check",
        ),
        (403, "refuses this user and password (Server returned 403 Forbidden (access denied)); check both"),
        (404, "the path does not exist (Server returned 404 Not Found); start it, check the address"),
        (500, "Server returned 5XX Server Error reply; start it, check the address"),
    ],
)
def test_an_http_error_is_reported_without_the_password(mjpeg: Any, answer: int, message: str) -> None:
    message = catch_error(Rtspsrc(url=Url(mjpeg(1, answer=answer).url)))
    assert message in message
    assert "http://***@127.0.0.1" in message
    assert "hunter2" not in message


def test_it_keeps_the_contract_of_elements(mjpeg: Any) -> None:
    camera = mjpeg(30)
    check_element(lambda: Rtspsrc(url=Url(camera.url), num_frames=20))


# -- a fake RTSP server -----------------------------------------------------------------------------------------------


@contextmanager
def serve_rtsp(status: str, *headers: str, requests: list[str] | None = None) -> Iterator[str]:
    """Run a server that answers every request with ``status``, or not at all if it is empty, and notes ``requests``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while request := _receive(connection):
                    (requests if requests is not None else []).append(request)
                    sequence = next(line for line in request.split("\r\n") if line.lower().startswith("cseq"))
                    if status:
                        connection.sendall("\r\n".join([f"RTSP/1.0 {status}", sequence, *headers, "\r\n"]).encode())

        threading.Thread(target=serve, daemon=True).start()
        yield f"rtsp://admin:hunter2@127.0.0.1:{listening.getsockname()[1]}/door"
        listening.shutdown(socket.SHUT_RDWR)


def _receive(connection: socket.socket) -> str:
    try:
        return connection.recv(65536).decode(errors="replace")
    except OSError:
        return ""


REFUSALS = [
    ("401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"', "refuses this user and password"),
    ("401 Unauthorized", 'WWW-Authenticate: Digest realm="cam", nonce="1"', "refuses this user and password"),
    ("403 Forbidden", "Server: cam", "refuses this user and password"),
    ("404 Not Found", "Server: cam", "the path does not exist"),
    ("453 Not Enough Bandwidth", "Server: cam", "Server returned 4XX Client Error"),
]


@pytest.mark.parametrize(("status", "header", "message"), REFUSALS)
def test_an_rtsp_error_is_reported_without_the_password(status: str, header: str, message: str) -> None:
    with serve_rtsp(status, header) as url:
        message = catch_error(Rtspsrc(url=Url(url)))
    assert message in message
    assert "'rtsp://***@127.0.0.1:" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("password", ["hun'ter\"2", "hun/ter#2", "hun@t:er2", "hun ter2", "hünter:2%"])
@pytest.mark.parametrize("typed", ["", "${HALL_PASSWORD}"], ids=["typed", "from the environment"])
def test_a_camera_receives_a_password_of_any_characters(
    password: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALL_PASSWORD", password)
    requests: list[str] = []
    with serve_rtsp("401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"', requests=requests) as url:
        catch_error(Rtspsrc(url=Url(url.replace("hunter2", typed or password.replace("%", "%25")))))
    sent = re.findall(r"Authorization: Basic (\S+)", "".join(requests))
    assert {base64.b64decode(one).decode() for one in sent} == {f"admin:{password}"}


def test_a_wrong_password_is_not_retried() -> None:
    """Cameras lock an account after a few attempts."""
    with serve_rtsp("401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"') as url:
        assert "refuses this user and password" in catch_error(Rtspsrc(url=Url(url), retry="always"))


def test_a_silent_server_is_given_up_after_open_timeout_s() -> None:
    with serve_rtsp("") as url:
        assert ": no answer for 0.5 s; start it, check the address" in catch_error(
            Rtspsrc(url=Url(url), open_timeout_s=0.5)
        )


def test_a_refused_connection_raises_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"rtsp://127.0.0.1:{taken.getsockname()[1]}/door"
    assert catch_error(Rtspsrc(url=Url(url))) == (
        f"cannot reach '{url}': Connection refused; start it, check the address, or wait for it with retry=always"
    )


def test_a_camera_that_starts_later_is_waited_for_with_retry_always(
    mjpeg: Any, caplog: pytest.LogCaptureFixture
) -> None:
    camera = mjpeg(3, answer=503)
    source = Rtspsrc(url=Url(camera.url), retry="always", backoff_s=0.05)

    def starts_up(frames: list[Frame]) -> bool:
        camera.answer = 200 if camera.connections > 2 else 503
        return len(frames) >= 2

    until(source, starts_up)
    assert "Server returned 5XX" in caplog.text


def test_a_process_can_exit_while_it_connects_to_a_silent_server() -> None:
    program = """
import sys
from stream.elements.rtspsrc import Rtspsrc
source = Rtspsrc(url=sys.argv[1], open_timeout_s=600, stall_timeout_s=600)
with source:
    assert next(source.frames()) is None
print("left", flush=True)
"""
    with serve_rtsp("") as url:
        command = [sys.executable, "-c", program, url]
        # Opening may take ten minutes; the process exits within a second or two.
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("walk.mp4", "'walk.mp4' is not a live address; write rtsp://HOST/PATH, or use filesrc for a file"),
        ("file:///walk.mp4", "'file:///walk.mp4' is not a live address"),
        ("rtsp:///door", "'rtsp:///door' has no host; write rtsp://HOST/PATH"),
        ("rtsp://u:p@hall:99999/door", "'rtsp://***@hall:99999/door' is not a live address"),
        (
            "rtsp://u:${NO_SUCH_NAME}@hall/door",
            "contains ${NO_SUCH_NAME}, but the variable NO_SUCH_NAME is not set",
        ),
    ],
)
def test_an_invalid_address_raises_when_the_line_opens(url: str, message: str) -> None:
    with pytest.raises(SourceError) as caught, Rtspsrc(url=Url(url)):
        pass
    assert message in str(caught.value)


def test_a_password_may_come_from_the_environment(mjpeg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALL_PASSWORD", "hunter2")
    url = mjpeg(3, stays_open=True).url.replace("hunter2@", "${HALL_PASSWORD}@")
    assert until(Rtspsrc(url=Url(url)), count(1))[0].seq >= 0


@pytest.mark.parametrize("url", ["rtsp://admin:hunter2@hall/door", Url("rtsp://admin:hunter2@hall/door")])
def test_the_repr_hides_the_password(url: Any) -> None:
    for source in (make("rtspsrc", url=url), Rtspsrc(url=url)):
        assert "url=Url('rtsp://***@hall/door')" in repr(source)
        assert "hunter2" not in repr(source)


def test_an_address_without_its_password_says_so() -> None:
    assert catch_error(Rtspsrc(url=Url("rtsp://***@hall/door"))) == (
        "'rtsp://***@hall/door' was written without its password; put the address of the camera there"
    )


def test_it_is_live_and_of_unknown_rate() -> None:
    source = Rtspsrc(url=Url("rtsp://hall/door"))
    assert source.is_live
    assert source.nominal_fps is None


# -- the backlog of a connection --------------------------------------------------------------------------------------


def test_the_backlog_ends_with_the_first_packet_that_is_waited_for() -> None:
    backlog, waits_s = Backlog(), [0.0001, 0.0002, 0.0001, 0.030, 0.0001, 0.040]
    assert [backlog.includes(wait_s, 0.01) for wait_s in waits_s] == [True, True, True, False, False, False]


def test_a_machine_that_never_waits_for_a_packet_gets_pictures_too() -> None:
    backlog = Backlog()
    assert [backlog.includes(0.0, open_s) for open_s in (0.1, 2.0, 3.5, 3.6)] == [True, True, False, False]


# -- a transport stream over UDP --------------------------------------------------------------------------------------


def test_a_transport_stream_over_udp_is_read(tmp_path: Path) -> None:
    clip = tmp_path / "a.ts"
    write_video(clip, [numbered_picture(number) for number in range(25)], codec="mpeg2video")
    data = clip.read_bytes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as finder:
        finder.bind(("127.0.0.1", 0))
        port = finder.getsockname()[1]
    done = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not done.is_set():  # the same second, in a loop
                for start in range(0, len(data), 1316):
                    sender.sendto(data[start : start + 1316], ("127.0.0.1", port))
                    done.wait(0.005)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        frames = until(Rtspsrc(url=Url(f"udp://127.0.0.1:{port}"), open_timeout_s=TIMEOUT_S, max_items=50), count(10))
    finally:
        done.set()
        thread.join()
    assert sum(read_number(frame.pixels) is not None for frame in frames) >= 5


# -- a real server ----------------------------------------------------------------------------------------------------


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
