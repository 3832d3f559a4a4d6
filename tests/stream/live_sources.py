"""Helpers for tests of live sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stream.capture.live_source import LiveSource
from stream.errors import SourceError
from stream.messages import Frame

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
