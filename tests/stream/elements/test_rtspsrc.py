"""``rtspsrc`` with a fake camera that sends Motion JPEG over HTTP, its addresses, and a transport stream over UDP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from engines.url import Url
from stream.capture.stream_feed import Backlog
from stream.elements.rtspsrc import Rtspsrc
from stream.errors import SourceError
from stream.messages import Frame
from stream.registry import make
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number, write_video
from tests.stream.live_sources import TIMEOUT_S, MjpegCamera, catch_error, count, until


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
    ("answer", "wanted"),
    [
        (401, "refuses this user and password (Server returned 401 Unauthorized (authorization failed)); check"),
        (403, "refuses this user and password (Server returned 403 Forbidden (access denied)); check both"),
        (404, "the path does not exist (Server returned 404 Not Found); start it, check the address"),
        (500, "Server returned 5XX Server Error reply; start it, check the address"),
    ],
)
def test_an_http_error_is_reported_without_the_password(mjpeg: Any, answer: int, wanted: str) -> None:
    message = catch_error(Rtspsrc(url=Url(mjpeg(1, answer=answer).url)))
    assert wanted in message
    assert "http://***@127.0.0.1" in message
    assert "hunter2" not in message


def test_it_keeps_the_contract_of_elements(mjpeg: Any) -> None:
    camera = mjpeg(30)
    check_element(lambda: Rtspsrc(url=Url(camera.url), num_frames=20))


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


@pytest.mark.parametrize(
    ("url", "is_listening"),
    [
        ("udp://127.0.0.1:5600", True),
        ("rtp://127.0.0.1:5600", True),
        ("tcp://127.0.0.1:5600?listen", True),
        ("srt://:5600?mode=listener", True),
        ("rtsp://127.0.0.1:5600/hall", False),
        ("tcp://127.0.0.1:5600", False),
    ],
)
def test_a_port_of_this_machine_is_released_before_it_is_opened_again(url: str, is_listening: bool) -> None:
    assert (Rtspsrc(url=Url(url)).closing_limit_s > 0) is is_listening
