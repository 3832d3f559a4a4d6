"""``snapshotsrc`` with a fake camera that serves single pictures over HTTP."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import cv2
import pytest

from engines.url import Url
from stream.elements.rtspsrc import Rtspsrc
from stream.elements.snapshotsrc import Snapshotsrc
from stream.errors import PropertyError, SourceError
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number
from tests.stream.live_sources import TIMEOUT_S, HttpCamera, catch_error, count, until


def encode(number: int) -> bytes:
    return cv2.imencode(".jpg", numbered_picture(number))[1].tobytes()


class Camera(HttpCamera):
    """Answers the n-th request with ``answer(n)``: a status, headers and a body."""

    def __init__(self, answer: Callable[[int, Any], tuple[int, dict[str, str], bytes]]) -> None:
        self.answer, self.requests = answer, list[Any]()
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://admin:hun%40ter2@127.0.0.1:{self.port}/snap.jpg?token=hunter3"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.headers)
        status, headers, body = self.answer(len(self.requests) - 1, request.headers)
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


Serve = Callable[[Any], Camera]


@pytest.fixture
def serve() -> Iterator[Serve]:
    cameras: list[Camera] = []

    def start(answer: Any) -> Camera:
        cameras.append(Camera(answer))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.close()


JPEG = {"Content-Type": "image/jpeg"}


def numbered(number: int, _headers: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, JPEG, encode(number)


def source(server: Camera, **properties: Any) -> Snapshotsrc:
    return Snapshotsrc(**{"url": Url(server.url), "fps": 100.0, "backoff_s": 0.02, **properties})


def test_each_picture_is_a_frame_with_a_number_and_the_time_of_its_arrival(serve: Serve) -> None:
    before_ns = time.time_ns()
    frames = until(source(serve(numbered), camera="hall", max_items=100), count(5))
    assert [read_number(frame.pixels) for frame in frames] == [frame.seq for frame in frames] == list(range(5))
    assert {frame.camera for frame in frames} == {"hall"}
    assert all(before_ns <= frame.wall_ns <= frame.ledger["decoded"] <= time.time_ns() for frame in frames)
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times))


def test_pictures_are_asked_for_at_the_rate(serve: Serve) -> None:
    camera = serve(numbered)
    began_s = time.monotonic()
    until(source(camera, fps=20.0, max_items=100), count(7))
    assert time.monotonic() - began_s >= 6 / 20
    assert len(camera.requests) <= 8


def test_a_picture_that_has_not_changed_is_no_frame(serve: Serve) -> None:
    camera = serve(lambda number, _: numbered(number // 3, _))
    frames = until(source(camera, max_items=100), count(4))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2, 3]


def test_a_server_that_knows_versions_is_asked_for_another_one(serve: Serve) -> None:
    def answer(number: int, headers: Any) -> tuple[int, dict[str, str], bytes]:
        tag = f'"{number // 2}"'
        if headers.get("If-None-Match") == tag:
            return 304, {}, b""
        return 200, {**JPEG, "ETag": tag}, encode(number // 2)

    frames = until(source(serve(answer), max_items=100), count(3))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2]


def test_a_camera_that_has_frozen_is_said_to_be(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    frozen = [True]
    camera = serve(lambda number, _: numbered(0 if frozen[0] else number, _))

    def thaw(frames: list[Any]) -> bool:
        frozen[0] = "its picture has not changed for" not in caplog.text
        return len(frames) == 3

    frames = until(source(camera, stall_timeout_s=0.2, max_items=100), thaw)
    assert [frame.seq for frame in frames] == [0, 1, 2], "the same picture is not given again after a reconnection"
    assert len({read_number(frame.pixels) for frame in frames}) == 3
    assert "hun" not in caplog.text


@pytest.mark.parametrize("challenge", ['Basic realm="cam"', 'Digest realm="cam", nonce="1", qop="auth", algorithm=MD5'])
def test_a_camera_receives_the_password_that_it_asks_for(serve: Serve, challenge: str) -> None:
    def answer(number: int, headers: Any) -> tuple[int, dict[str, str], bytes]:
        if "Authorization" not in headers:
            return 401, {"WWW-Authenticate": challenge}, b""
        return numbered(number, headers)

    camera = serve(answer)
    until(source(camera), count(2))
    sent = next(headers["Authorization"] for headers in camera.requests if "Authorization" in headers)
    if challenge.startswith("Basic"):
        assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "admin:hun@ter2"
    else:
        assert sent.startswith('Digest username="admin", realm="cam", nonce="1"')


def test_another_host_does_not_receive_the_password(serve: Serve) -> None:
    other = serve(lambda number, headers: (401, {"WWW-Authenticate": 'Basic realm="x"'}, b""))
    place = other.url.replace("admin:hun%40ter2@127.0.0.1", "localhost")
    message = catch_error(source(serve(lambda *_: (302, {"Location": place}, b""))))
    assert "refuses this user and password" in message
    assert not any("Authorization" in headers for headers in other.requests)


@pytest.mark.parametrize(
    ("status", "headers", "body", "wanted"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="cam"'}, b"", "refuses this user and password (401 Unauthorized); "),
        (401, {"WWW-Authenticate": "Bearer"}, b"", "this user and password (it asks for a login that is neither"),
        (403, {}, b"", "refuses this user and password (403 Forbidden); check both in url=http://USER:PASSWORD@HOST"),
        (404, {}, b"", "the path does not exist (404 Not Found); start it, check the address"),
        (503, {}, b"", "it answers 503 Service Unavailable; start it, check the address"),
        (200, {"Content-Type": "text/html"}, b"<html>", "it answers 6 bytes of text/html that are no whole picture; "),
        (200, JPEG, encode(0)[:900], "it answers 900 bytes of image/jpeg that are no whole picture; "),
        (200, {**JPEG, "Content-Length": "5000"}, b"\xff\xd8", "its picture broke off after 2 of 5000 bytes; "),
        (200, {"Content-Type": "multipart/x-mixed-replace; boundary=x"}, b"", "is a stream (multipart/x-mixed-"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_one_line_without_the_password(
    serve: Serve, status: int, headers: dict[str, str], body: bytes, wanted: str
) -> None:
    message = catch_error(source(serve(lambda *_: (status, headers, body))))
    assert wanted in message
    assert "'http://***@127.0.0.1:" in message
    assert "hun" not in message


def test_an_answer_that_never_ends_is_given_up(serve: Serve) -> None:
    def wait(number: int, headers: Any) -> tuple[int, dict[str, str], bytes]:
        camera.stopping.wait(TIMEOUT_S)
        return numbered(number, headers)

    camera: Camera = serve(wait)
    assert "no answer for 0.2 s; start it" in catch_error(source(camera, open_timeout_s=0.2))


def test_an_address_without_a_server_is_said(serve: Serve) -> None:
    camera = serve(numbered)
    camera.close()
    assert catch_error(source(camera)).startswith(f"cannot reach '{Url(camera.url)}': Connection refused; start it")


def test_a_camera_that_fails_for_a_while_is_asked_again(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    camera = serve(lambda number, _: (500, {}, b"") if 2 <= number < 4 else numbered(number, _))
    frames = until(source(camera, max_items=100), count(4))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 4, 5]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]
    assert "it answers 500 Internal Server Error; retrying in" in caplog.text


def test_it_keeps_the_contract_of_elements(serve: Serve) -> None:
    camera = serve(numbered)
    check_element(lambda: source(camera, num_frames=10))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("snap.jpg", "'snap.jpg' is not a live address; write http://HOST/PATH, or use rtspsrc for a stream"),
        ("rtsp://u:p@hall/1", "'rtsp://***@hall/1' is not a live address; write http://HOST/PATH"),
        ("http:///snap.jpg", "'http:///snap.jpg' has no host; write http://HOST/PATH"),
    ],
)
def test_an_invalid_address_raises_when_the_line_opens(url: str, message: str) -> None:
    with pytest.raises(SourceError) as caught, Snapshotsrc(url=Url(url)):
        pass
    assert message in str(caught.value)


def test_a_limit_within_which_no_two_pictures_come_is_refused() -> None:
    wanted = "snapshotsrc: stall_timeout_s=3 is less than two pictures at fps=0.5 take; set it to 4 or more"
    with pytest.raises(PropertyError) as caught, Snapshotsrc(url=Url("http://h/a.jpg"), fps=0.5, stall_timeout_s=3):
        pass
    assert str(caught.value) == wanted


def test_rtspsrc_names_snapshotsrc_for_a_single_picture(serve: Serve) -> None:
    message = catch_error(Rtspsrc(url=Url(serve(numbered).url)))
    assert "is a single picture, not a stream; use snapshotsrc" in message
    assert "hun" not in message
