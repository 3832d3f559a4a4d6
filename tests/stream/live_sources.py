"""Helpers for tests of live sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import pytest

from stream.capture.live_source import LiveSource
from stream.errors import SourceError
from stream.messages import Frame
from stream.testing.videos import numbered_picture

# Timeout for conditions that take a second or two on an idle machine and longer on a busy one.
TIMEOUT_S = 60.0


def until(source: LiveSource, is_done: Callable[[list[Frame]], bool]) -> list[Frame]:
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
    """A condition for :func:`until`: so many frames have come."""
    return lambda frames: len(frames) >= wanted


def catch_error(source: LiveSource) -> str:
    """The error that ends a source, in one line."""
    with pytest.raises(SourceError) as caught:
        until(source, count(10**9))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class HttpCamera:
    """A camera on a web server; a subclass answers its requests."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request; an ``OSError`` means that the client has disconnected."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        return self._server.server_port

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
                with suppress(OSError):
                    camera.respond(self)

        return Handler


class MjpegCamera(HttpCamera):
    """Sends ``pictures`` from number 0 to each client, then closes the connection, or stays open and silent."""

    def __init__(self, pictures: int, *, stays_open: bool = False, every_s: float = 0.01, answer: int = 200) -> None:
        self.pictures, self.stays_open, self.every_s, self.answer = pictures, stays_open, every_s, answer
        self.get_size: Callable[[int], tuple[int, int]] = lambda number: (320, 240)
        self.connections = 0
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://admin:hunter2@127.0.0.1:{self.port}/video?token=hunter2"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        self.connections += 1
        request.send_response(self.answer)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        self.show(request.wfile.write)

    def show(self, write: Callable[[bytes], object]) -> None:
        for number in range(self.pictures if self.answer == 200 else 0):
            jpeg = cv2.imencode(".jpg", numbered_picture(number, self.get_size(number)))[1].tobytes()
            write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
            self.stopping.wait(self.every_s)
        if self.stays_open:
            self.stopping.wait(TIMEOUT_S)
