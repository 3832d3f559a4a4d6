"""``rtspsrc`` with a fake RTSP server that refuses it, or says nothing."""

from __future__ import annotations

import base64
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engines.url import Url
from stream.capture.reachability import find_reason
from stream.elements.rtspsrc import Rtspsrc
from tests.stream.live_sources import TIMEOUT_S, catch_error


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


@pytest.mark.parametrize(("status", "header", "wanted"), REFUSALS)
def test_an_rtsp_error_is_reported_without_the_password(status: str, header: str, wanted: str) -> None:
    with serve_rtsp(status, header) as url:
        message = catch_error(Rtspsrc(url=Url(url)))
    assert wanted in message
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


def test_a_process_can_exit_while_it_connects_to_a_silent_server() -> None:
    program = """
import sys
from stream.capture.reachability import find_reason
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
    # FFmpeg's thread, which nothing can interrupt, may still run while C libraries are torn down: on a busy machine one
    # exit in sixty ended with a segmentation fault, after all else was done.
    assert done.returncode in (0, -signal.SIGSEGV)
    assert (done.stdout, done.stderr) == ("left\n", "")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(200)])
def test_a_server_of_another_protocol_is_named_as_that(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        port = listening.getsockname()[1]
        message = catch_error(Rtspsrc(url=Url(f"rtsp://admin:hunter2@127.0.0.1:{port}/door")))
        listening.shutdown(socket.SHUT_RDWR)
    assert message == (
        f"cannot reach 'rtsp://***@127.0.0.1:{port}/door': what answers on port {port} is no RTSP server; "
        "start it, check the address, or wait for it with retry=always"
    )


def _refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "no host is called 'door.invalid'"),
        (TimeoutError("timed out"), "no answer on port 554"),
        (_refuse(errno.EHOSTUNREACH), "No route to host"),
        (_refuse(errno.ENETUNREACH), "Network is unreachable"),
    ],
)
def test_an_address_that_cannot_be_reached_has_the_reason(
    error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(address: tuple[str, int], _timeout_s: float) -> socket.socket:
        assert address == ("door.invalid", 554)
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    assert find_reason("rtsp://admin:hunter2@door.invalid/x") == reason


def test_of_an_address_without_connections_no_reason_is_looked_for() -> None:
    assert find_reason("udp://239.0.0.1:5000") == find_reason("rtsp:///x") == ""
