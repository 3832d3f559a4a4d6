"""``rtmpsrc`` with publishers that are processes of their own, as FFmpeg or OBS are."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from stream.capture import publishers as doors
from stream.capture.publishers import PublisherSocket
from stream.elements.rtmpsrc import Rtmpsrc
from stream.errors import PropertyError, SourceError
from stream.messages import Frame
from stream.testing import check_element
from stream.testing.videos import read_number
from tests.stream.live_sources import TIMEOUT_S, catch_error, until

PUBLISHER = """
import sys, time, av
from stream.testing.videos import numbered_picture

pictures = [av.VideoFrame.from_ndarray(numbered_picture(number), format="bgr24") for number in range(40)]
print("ready", flush=True)
for address in sys.stdin:
    with av.open(address.strip(), "w", format="flv") as output:
        options = {"tune": "zerolatency", "g": "10", "preset": "ultrafast"}
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(1000):
            frame = pictures[number % len(pictures)]
            frame.pts = number
            try:
                output.mux(stream.encode(frame))
            except (OSError, av.FFmpegError):
                break
            time.sleep(0.02)
"""


class Publisher:
    """A process that publishes numbered pictures when it is given an address, and until it is killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def publish(self, port: int, path: str = "live/hall") -> None:
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._process.stdout.readline()
        self._process.stdin.write(f"rtmp://127.0.0.1:{port}/{path}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def publishers() -> Iterator[Callable[[], Publisher]]:
    started: list[Publisher] = []

    def start() -> Publisher:
        started.append(Publisher())
        return started[-1]

    yield start
    for publisher in started:
        publisher.kill()


def port_of(source: Rtmpsrc) -> int:
    assert source._socket is not None
    return source._socket.port


def make(**properties: Any) -> Rtmpsrc:
    return Rtmpsrc(**{"listen": "127.0.0.1:0", "open_timeout_s": TIMEOUT_S, "camera": "hall", **properties})


def test_a_publisher_comes_goes_and_comes_again(
    publishers: Callable[[], Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = publishers(), publishers()
    stages: list[int] = []

    def go_on(frames: list[Frame]) -> bool:
        if not stages:  # the source listens now
            threading.Thread(target=first.publish, args=(port_of(source),)).start()
            stages.append(0)
        elif len(stages) == 1 and len(frames) >= 5:
            first.kill()
            threading.Thread(target=second.publish, args=(port_of(source), "other/path")).start()
            stages.append(len(frames))
        return len(stages) == 2 and "the publisher has left" in caplog.text and len(frames) >= stages[1] + 15

    source = make()
    frames = until(source, go_on)
    assert [frame.seq for frame in frames] == sorted({frame.seq for frame in frames})
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))
    assert all(read_number(frame.pixels) is not None for frame in frames)
    assert {frame.camera for frame in frames} == {"hall"}


def test_clients_that_are_no_publishers_cost_nothing_and_a_second_publisher_is_turned_away(
    publishers: Callable[[], Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publishers()
    said: list[bytes] = []

    def intrude(text: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port_of(source)), TIMEOUT_S) as client:
            client.sendall(text)
            client.settimeout(TIMEOUT_S)
            try:
                said.append(client.recv(1))
            except ConnectionError:
                said.append(b"")

    def intrude_and_publish() -> None:
        intrude(b"GET /")
        publisher.publish(port_of(source))

    def go_on(frames: list[Frame]) -> bool:
        if not steps:
            steps.append(threading.Thread(target=intrude_and_publish))
            steps[0].start()
        elif len(steps) == 1 and frames:
            steps.append(threading.Thread(target=intrude, args=(b"\x03",)))
            steps[1].start()
        return len(said) == 2 and len(frames) >= 5

    steps: list[threading.Thread] = []
    source = make()
    until(source, go_on)
    assert said == [b"", b""], "both were closed without a word"
    assert "127.0.0.1 sends what is no RTMP; the connection was closed" in caplog.text
    assert "a second publisher, 127.0.0.1, was turned away" in caplog.text


def test_clients_that_send_nothing_or_leave_are_closed_and_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_FIRST_BYTE_S", 0.1)
    door = PublisherSocket("127.0.0.1", 0)
    address = ("127.0.0.1", door.port)
    socket.create_connection(address, TIMEOUT_S).close()
    with socket.create_connection(address, TIMEOUT_S) as silent, socket.create_connection(address, TIMEOUT_S) as client:
        client.sendall(b"\x03")
        found = door.accept(TIMEOUT_S)
        assert found is not None
        with found[0] as accepted:
            assert accepted.getpeername() == client.getsockname()
        silent.settimeout(TIMEOUT_S)
        assert silent.recv(1) == b"", "it was closed"
    door.close()
    said = [record.getMessage().partition("127.0.0.1 ")[2] for record in caplog.records]
    assert said == [
        "has left at once; the connection was closed",
        "sends nothing for 0.1 s; the connection was closed",
    ]


def test_the_wait_for_a_publisher_is_bounded() -> None:
    wanted = "cannot reach 'rtmp://127.0.0.1:0': no publisher for 0.3 s; point an encoder at this address, or wait for"
    assert catch_error(make(open_timeout_s=0.3)).startswith(wanted)


def test_it_says_that_it_waits_and_stops_at_once_and_frees_its_port() -> None:
    source = make()
    with source, closing(source.frames()) as items:  # type: ignore[type-var]
        assert next(items) is None
        assert source.describe_silence() == "waits for a publisher on rtmp://127.0.0.1:0"
        port, began_s = port_of(source), time.monotonic()
    assert time.monotonic() - began_s < 5
    with make(listen=f"127.0.0.1:{port}"):
        pass


def test_an_address_that_is_taken_or_no_address_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SourceError) as caught, make(listen=listen):
            pass
    assert str(caught.value) == (
        f"rtmpsrc: cannot listen on '{listen}': Address already in use; choose another port or address of this machine"
    )
    with pytest.raises(PropertyError) as wrong, make(listen="rtmp://h"):
        pass
    assert str(wrong.value).startswith("rtmpsrc: listen 'rtmp://h' is not HOST:PORT; write it as in 127.0.0.1:1935")


@pytest.mark.parametrize(("listen", "is_open"), [("127.0.0.1:0", False), ("0.0.0.0:0", True)])
def test_others_can_publish_only_where_a_warning_says_so(
    listen: str, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), make(listen=listen):
        pass
    assert ("anyone who reaches '0.0.0.0:0' can publish there: RTMP has no password" in caplog.text) is is_open


def test_it_keeps_the_contract_of_elements_while_no_publisher_comes() -> None:
    check_element(make, quiet=True)
