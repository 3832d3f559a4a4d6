"""Against three kinds of camera: Motion JPEG over HTTP and a few lines of RTSP, both made here, and a real RTSP server.

The real one is GStreamer's, run by the system's Python where it has it; those tests say so and are skipped elsewhere.
"""

from __future__ import annotations

import logging
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

from stream.elements.rtspsrc import Pile, Rtspsrc
from stream.errors import SourceError
from stream.messages import Frame
from stream.registry import make
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number, write_video

# How long a condition that comes true within a second or two on a quiet machine is waited for on a busy one.
PATIENCE_S = 60.0


def until(source: Rtspsrc, is_it: Callable[[list[Frame]], bool], heard: list[Frame] | None = None) -> list[Frame]:
    """Frames until ``is_it`` says so; fails when it does not."""
    frames: list[Frame] = [] if heard is None else heard
    deadline_s = time.monotonic() + PATIENCE_S
    with source, closing(source.frames()) as words:  # type: ignore[type-var]
        for frame in words:
            frames += [] if frame is None else [frame]
            if is_it(frames):
                return frames
            assert time.monotonic() < deadline_s, f"only {len(frames)} frames within {PATIENCE_S} s"
    raise AssertionError("the source ended")


def count(wanted: int) -> Callable[[list[Frame]], bool]:
    return lambda frames: len(frames) >= wanted


def refused(source: Rtspsrc) -> str:
    with pytest.raises(SourceError) as caught:
        until(source, count(10**9))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- Motion JPEG over HTTP --------------------------------------------------------------------------------------------


class MjpegCamera:
    """Gives ``pictures`` from number 0 to each who asks, then hangs up, or holds the line without a word."""

    def __init__(self, pictures: int, *, holds: bool = False, every_s: float = 0.01, answer: int = 200) -> None:
        self.pictures, self.holds, self.every_s, self.answer = pictures, holds, every_s, answer
        self.size_of: Callable[[int], tuple[int, int]] = lambda number: (320, 240)
        self.visits = 0
        self.leave = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://admin:hunter2@127.0.0.1:{self._server.server_port}/video?token=hunter2"

    def close(self) -> None:
        self.leave.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name in the standard library
                pass

            def do_GET(self) -> None:
                camera.visits += 1
                self.send_response(camera.answer)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):  # the visitor has left
                    camera.show(self.wfile.write)

        return Handler

    def show(self, write: Callable[[bytes], object]) -> None:
        for number in range(self.pictures if self.answer == 200 else 0):
            jpeg = cv2.imencode(".jpg", numbered_picture(number, self.size_of(number)))[1].tobytes()
            write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
            self.leave.wait(self.every_s)
        if self.holds:
            self.leave.wait(PATIENCE_S)


@pytest.fixture
def mjpeg() -> Iterator[Callable[..., MjpegCamera]]:
    cameras: list[MjpegCamera] = []

    def started(*arguments: Any, **keywords: Any) -> MjpegCamera:
        cameras.append(MjpegCamera(*arguments, **keywords))
        return cameras[-1]

    yield started
    for camera in cameras:
        camera.close()


def test_pictures_over_http_come_numbered_and_timed(mjpeg: Any) -> None:
    camera = mjpeg(40, holds=True)
    before_ns = time.time_ns()
    frames = until(Rtspsrc(url=camera.url, camera="hall", max_items=100), count(40))
    assert [read_number(frame.pixels) for frame in frames] == [frame.seq for frame in frames] == list(range(40))
    assert {frame.camera for frame in frames} == {"hall"}
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert all(before_ns <= frame.wall_ns <= frame.ledger["decoded"] <= time.time_ns() for frame in frames)


def test_a_stream_without_a_clock_gets_the_times_of_arrival(mjpeg: Any) -> None:
    frames = until(Rtspsrc(url=mjpeg(10, holds=True, every_s=0.1).url, max_items=100), count(10))
    # Ten a second, where FFmpeg would make up 25; a busy machine may make it slower, hardly faster.
    assert frames[-1].pts_ns > 0.7e9


def test_a_camera_that_hangs_up_is_called_again_and_time_runs_on(mjpeg: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera = mjpeg(5)
    frames = until(Rtspsrc(url=camera.url, max_items=100, backoff_s=0.05), count(12))
    assert [read_number(frame.pixels) for frame in frames[:10]] == [0, 1, 2, 3, 4] * 2
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert "trying again in" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_camera_that_falls_silent_is_left_and_called_again(mjpeg: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera = mjpeg(3, holds=True)
    frames = until(Rtspsrc(url=camera.url, max_items=100, stall_timeout_s=0.4, backoff_s=0.05), count(6))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2, 0, 1, 2]
    assert camera.visits == 2
    assert "no picture for 0." in caplog.text


def test_a_change_of_resolution_is_just_a_frame_of_another_size(mjpeg: Any) -> None:
    camera = mjpeg(20, holds=True)
    camera.size_of = lambda number: (320, 240) if number < 10 else (640, 360)
    frames = until(Rtspsrc(url=camera.url, max_items=100), count(20))
    assert [frame.size for frame in frames] == [(320, 240)] * 10 + [(640, 360)] * 10
    assert [read_number(frame.pixels) for frame in frames] == list(range(20))


def test_a_slow_line_sees_the_newest_pictures_and_a_gap_in_their_numbers(mjpeg: Any) -> None:
    source = Rtspsrc(url=mjpeg(300, holds=True).url, max_items=1)
    with source, closing(source.frames()) as words:  # type: ignore[type-var]
        frames = (frame for frame in words if frame)
        before = next(frames)
        time.sleep(1.0)
        next(frames)
        after = next(frames)
    # A hundred a second on a quiet machine, and nobody looked for a second.
    assert after.seq - before.seq > 10
    assert read_number(after.pixels) == after.seq


def test_so_many_frames_may_be_asked_for(mjpeg: Any) -> None:
    source = Rtspsrc(url=mjpeg(50, holds=True).url, num_frames=7)
    with source:
        assert sum(frame is not None for frame in source.frames()) == 7


def test_a_restarted_source_goes_on_behind_its_last_number_and_waits_for_its_camera(mjpeg: Any) -> None:
    first, second = Rtspsrc(url=mjpeg(5, holds=True).url), Rtspsrc(url=mjpeg(5, holds=True).url)
    before = until(first, count(2))[-1]
    second.context.memory, second.context.incarnation = first.context.memory, 1
    after = until(second, count(1))[0]
    assert after.seq > before.seq
    assert after.pts_ns > before.pts_ns


def test_coming_back_fifty_times_leaves_no_thread_and_no_descriptor(mjpeg: Any) -> None:
    camera = mjpeg(1, every_s=0)
    source = Rtspsrc(url=camera.url, max_items=100, backoff_s=0.001, max_backoff_s=0.001)
    counts: list[tuple[int, int]] = []

    def has_come_back(frames: list[Frame]) -> bool:
        if len(frames) == 10 and not counts:
            counts.append(_threads_and_descriptors())
        return len(frames) >= 60

    until(source, has_come_back)
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
        (404, "nothing is at this path (Server returned 404 Not Found); start it, check the address"),
        (500, "Server returned 5XX Server Error reply; start it, check the address"),
    ],
)
def test_a_refusal_over_http_is_told_without_the_password(mjpeg: Any, answer: int, message: str) -> None:
    told = refused(Rtspsrc(url=mjpeg(1, answer=answer).url))
    assert message in told
    assert "http://***@127.0.0.1" in told
    assert "hunter2" not in told


def test_it_keeps_the_contract_of_elements(mjpeg: Any) -> None:
    camera = mjpeg(30)
    check_element(lambda: Rtspsrc(url=camera.url, num_frames=20))


# -- a few lines of RTSP ----------------------------------------------------------------------------------------------


@contextmanager
def rtsp_answering(status: str, *headers: str) -> Iterator[str]:
    """A server that gives every request the same answer; with an empty status it never says a word."""
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
                while request := _received(connection):
                    sequence = next(line for line in request.split("\r\n") if line.lower().startswith("cseq"))
                    if status:
                        connection.sendall("\r\n".join([f"RTSP/1.0 {status}", sequence, *headers, "\r\n"]).encode())

        threading.Thread(target=serve, daemon=True).start()
        yield f"rtsp://admin:hunter2@127.0.0.1:{listening.getsockname()[1]}/door"
        listening.shutdown(socket.SHUT_RDWR)


def _received(connection: socket.socket) -> str:
    try:
        return connection.recv(65536).decode(errors="replace")
    except OSError:
        return ""


REFUSALS = [
    ("401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"', "refuses this user and password"),
    ("401 Unauthorized", 'WWW-Authenticate: Digest realm="cam", nonce="1"', "refuses this user and password"),
    ("403 Forbidden", "Server: cam", "refuses this user and password"),
    ("404 Not Found", "Server: cam", "nothing is at this path"),
    ("453 Not Enough Bandwidth", "Server: cam", "Server returned 4XX Client Error"),
]


@pytest.mark.parametrize(("status", "header", "message"), REFUSALS)
def test_a_refusal_over_rtsp_is_told_without_the_password(status: str, header: str, message: str) -> None:
    with rtsp_answering(status, header) as url:
        told = refused(Rtspsrc(url=url))
    assert message in told
    assert "'rtsp://***@127.0.0.1:" in told
    assert "hunter2" not in told


def test_a_wrong_password_is_not_tried_again_and_again() -> None:
    """Cameras lock an account after a few attempts."""
    with rtsp_answering("401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"') as url:
        assert "refuses this user and password" in refused(Rtspsrc(url=url, retry="always"))


def test_a_server_without_a_word_is_given_up_after_the_time_an_opening_may_take() -> None:
    with rtsp_answering("") as url:
        assert ": no answer for 0.5 s; start it, check the address" in refused(Rtspsrc(url=url, open_timeout_s=0.5))


def test_nobody_listening_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"rtsp://127.0.0.1:{taken.getsockname()[1]}/door"
    assert refused(Rtspsrc(url=url)) == (
        f"cannot reach '{url}': Connection refused; start it, check the address, or wait for it with retry=always"
    )


def test_a_camera_that_is_not_there_yet_is_waited_for_when_asked(mjpeg: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera = mjpeg(3, answer=503)
    source = Rtspsrc(url=camera.url, retry="always", backoff_s=0.05)

    def opens_its_eyes(frames: list[Frame]) -> bool:
        camera.answer = 200 if camera.visits > 2 else 503
        return len(frames) >= 2

    until(source, opens_its_eyes)
    assert "Server returned 5XX" in caplog.text


def test_a_process_that_connects_to_a_mute_server_can_leave_at_once() -> None:
    program = """
import sys, time
from stream.elements.rtspsrc import Pile, Rtspsrc
source = Rtspsrc(url=sys.argv[1], open_timeout_s=600, stall_timeout_s=600)
begun = time.monotonic()
with source:
    assert next(source.frames()) is None
print("left", flush=True)
"""
    with rtsp_answering("") as url:
        command = [sys.executable, "-c", program, url]
        # Ten minutes is what the opening may take; the process leaves within a second or two.
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("walk.mp4", "'walk.mp4' is no live address; write rtsp://HOST/PATH, or use filesrc for a file"),
        ("file:///walk.mp4", "'file:///walk.mp4' is no live address"),
        ("rtsp:///door", "'rtsp:///door' names no host; write rtsp://HOST/PATH"),
        ("rtsp://u:p@hall:99999/door", "'rtsp://***@hall:99999/door' is no live address"),
        (
            "rtsp://u:${NO_SUCH_NAME}@hall/door",
            "wants ${NO_SUCH_NAME}, but the environment has no NO_SUCH_NAME",
        ),
    ],
)
def test_an_address_that_cannot_be_right_is_told_when_the_line_opens(url: str, message: str) -> None:
    with pytest.raises(SourceError) as caught, Rtspsrc(url=url):
        pass
    assert message in str(caught.value)


def test_a_password_may_come_from_the_environment(mjpeg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALL_PASSWORD", "hunter2")
    url = mjpeg(3, holds=True).url.replace("hunter2@", "${HALL_PASSWORD}@")
    assert until(Rtspsrc(url=url), count(1))[0].seq >= 0


def test_an_element_never_shows_its_password() -> None:
    source = make("rtspsrc", url="rtsp://admin:hunter2@hall/door", camera="hall")
    assert repr(source) == "Rtspsrc(url='rtsp://***@hall/door', camera='hall', transport='tcp')"


def test_it_is_live_and_of_unknown_rate() -> None:
    source = Rtspsrc(url="rtsp://hall/door")
    assert source.live
    assert source.nominal_fps is None


# -- what gathers while a connection is opened ------------------------------------------------------------------------


def test_the_pile_ends_with_the_first_packet_that_has_to_be_waited_for() -> None:
    pile, waits_s = Pile(), [0.0001, 0.0002, 0.0001, 0.030, 0.0001, 0.040]
    assert [pile.holds(wait_s, 0.01) for wait_s in waits_s] == [True, True, True, False, False, False]


def test_a_machine_too_slow_to_wait_for_anything_is_shown_pictures_all_the_same() -> None:
    pile = Pile()
    assert [pile.holds(0.0, open_s) for open_s in (0.1, 2.0, 3.5, 3.6)] == [True, True, False, False]


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
            while not done.is_set():  # the same second again and again
                for start in range(0, len(data), 1316):
                    sender.sendto(data[start : start + 1316], ("127.0.0.1", port))
                    done.wait(0.005)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        frames = until(Rtspsrc(url=f"udp://127.0.0.1:{port}", open_timeout_s=PATIENCE_S, max_items=50), count(10))
    finally:
        done.set()
        thread.join()
    assert sum(read_number(frame.pixels) is not None for frame in frames) >= 5


# -- a real server ----------------------------------------------------------------------------------------------------


class RtspServer:
    """``rtsp_server.py`` of the shared tools, which loops an H.264 clip; ``begin`` and ``kill`` as you like."""

    def __init__(self, script: Path) -> None:
        self._script = script
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://admin:hunter2@127.0.0.1:{self.port}/test"

    def begin(self, clip: Path) -> None:
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
    """How far ``seq`` and the number in the picture go from frame to frame."""
    numbers = [(frame.seq, read_number(frame.pixels)) for frame in frames]
    assert all(number is not None for _, number in numbers), "a picture is broken"
    pairs = pairwise(numbers)
    return {(after[0] - before[0], (after[1] - before[1]) % 247) for before, after in pairs}  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_no_frame_of_a_real_stream_is_lost_or_broken(rtsp: RtspServer, barcode: Path, transport: Any) -> None:
    rtsp.begin(barcode)
    frames = until(Rtspsrc(url=rtsp.url, transport=transport, max_items=200), count(72))
    assert steps(frames) == {(1, 1)}
    rate = 71e9 / (frames[-1].pts_ns - frames[0].pts_ns)
    assert rate == pytest.approx(24, rel=0.01), "the stream's own clock, whatever the network does"


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_with_another_resolution_is_found_again(
    rtsp: RtspServer, barcode: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    small = tmp_path / "small.mp4"
    write_video(small, [numbered_picture(number) for number in range(50)])
    rtsp.begin(barcode)

    def changes(frames: list[Frame]) -> bool:
        if len(frames) == 10 and frames[-1].size == (1280, 720):
            rtsp.kill()
            rtsp.begin(small)
        return bool(frames) and frames[-1].size == (320, 240)

    frames = until(Rtspsrc(url=rtsp.url, max_items=5, backoff_s=0.1), changes)
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    numbers = [frame.seq for frame in frames]
    assert numbers == sorted(set(numbers))
    assert "is back after" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.slow
def test_a_frozen_server_is_noticed_and_used_again_when_it_thaws(
    rtsp: RtspServer, barcode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rtsp.begin(barcode)
    frozen_at: list[int] = []

    def freezes_and_thaws(frames: list[Frame]) -> bool:
        if len(frames) == 30 and not frozen_at:
            frozen_at.append(len(frames))
            rtsp.signal(signal.SIGSTOP)
        if "no picture for" in caplog.text:
            rtsp.signal(signal.SIGCONT)
            return any(after.pts_ns - before.pts_ns > 1e9 for before, after in pairwise(frames))
        return False

    frames = until(Rtspsrc(url=rtsp.url, stall_timeout_s=1.0, open_timeout_s=2.0, backoff_s=0.1), freezes_and_thaws)
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))


def test_a_wrong_path_on_a_real_server_is_told(rtsp: RtspServer, barcode: Path) -> None:
    rtsp.begin(barcode)
    told = refused(Rtspsrc(url=rtsp.url + "ing"))
    assert f"cannot reach 'rtsp://***@127.0.0.1:{rtsp.port}/testing': nothing is at this path" in told
