"""Publishers of RTMP that connect to this machine: one is let in at a time, and what it sends is handed to FFmpeg.

FFmpeg can listen too, but then its port closes with each publisher, any client takes the place of one, and a wait for
one cannot be ended.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from contextvars import copy_context

_log = logging.getLogger(__name__)

_HANDSHAKE = b"\x03"
"""The first byte of every RTMP client: the version (RTMP 1.0, section 5.2.2)."""

_FIRST_BYTE_S = 3.0
_FFMPEG_S = 5.0
"""How long FFmpeg may take to listen."""

_SLICE_S = 0.2
_RETRY_S = 0.02
_CHUNK_BYTES = 1 << 16


class PublisherSocket:
    """A listening socket for publishers. Raises ``OSError`` if ``host`` and ``port`` cannot be listened on."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self._is_closed = False
        self.port: int = self._socket.getsockname()[1]

    def accept(self, timeout_s: float) -> tuple[socket.socket, str] | None:
        """Wait for a client of RTMP; its socket and address, or None if none has come or this was closed."""
        until_s = time.monotonic() + timeout_s
        while not self._is_closed and (left_s := until_s - time.monotonic()) > 0:
            with contextlib.suppress(OSError):  # closed meanwhile, or the client has left
                self._socket.settimeout(min(left_s, _SLICE_S))
                client, (peer, *_) = self._socket.accept()
                if fault := _find_fault(client):
                    client.close()
                    _log.warning("port %d: %s %s; the connection was closed", self.port, peer, fault)
                else:
                    return client, peer
        return None

    def refuse_others(self) -> None:
        """Close the connections of publishers that came while there was one."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(0)
            while not self._is_closed:
                client, (peer, *_) = self._socket.accept()
                client.close()
                _log.warning("port %d: a second publisher, %s, was turned away", self.port, peer)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._is_closed = True
        self._socket.close()

    def fileno(self) -> int:
        """For ``select``; -1 when closed."""
        return self._socket.fileno()


def _find_fault(client: socket.socket) -> str:
    """Why a client is no publisher; empty if it begins as one."""
    client.settimeout(_FIRST_BYTE_S)
    try:
        first = client.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return f"sends nothing for {_FIRST_BYTE_S:g} s"
    except OSError:
        return "has left at once"
    return "" if first == _HANDSHAKE else "sends what is no RTMP" if first else "has left at once"


class Relay:
    """Passes bytes between a publisher and FFmpeg, which listens on ``port`` of loopback, or will shortly.

    It does so in a thread of its own, which meanwhile refuses other publishers."""

    def __init__(self, publisher: socket.socket, port: int, others: PublisherSocket) -> None:
        self._publisher, self._others = publisher, others
        self._ffmpeg: socket.socket | None = None
        self._is_closed = False
        self.has_left = False
        """True once the publisher has closed its connection."""
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, port), name="publisher", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close both connections. Idempotent."""
        self._is_closed = True
        self._thread.join(2 * _SLICE_S)

    def _run(self, port: int) -> None:
        try:
            self._ffmpeg = self._connect(port)
            if self._ffmpeg is not None:
                with contextlib.suppress(OSError):
                    self._pass_on(self._ffmpeg)
        finally:
            self._publisher.close()
            if self._ffmpeg is not None:
                self._ffmpeg.close()

    def _connect(self, port: int) -> socket.socket | None:
        until_s = time.monotonic() + _FFMPEG_S
        while not self._is_closed and time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", port), _FFMPEG_S)
            time.sleep(_RETRY_S)
        return None

    def _pass_on(self, ffmpeg: socket.socket) -> None:
        """Until one of the two closes its connection."""
        with selectors.DefaultSelector() as selector:
            for one, other in ((self._publisher, ffmpeg), (ffmpeg, self._publisher)):
                one.settimeout(_FFMPEG_S)
                selector.register(one, selectors.EVENT_READ, other)
            selector.register(self._others, selectors.EVENT_READ)
            while not self._is_closed:
                for key, _ in selector.select(_SLICE_S):
                    if key.fileobj is self._others:
                        self._others.refuse_others()
                    elif not self._pass_some(key):
                        return

    def _pass_some(self, key: selectors.SelectorKey) -> bool:
        """False at the end of a connection."""
        one = key.fileobj
        assert isinstance(one, socket.socket)
        try:
            data = one.recv(_CHUNK_BYTES)
        except ConnectionError:
            data = b""
        self.has_left = self.has_left or (not data and one is self._publisher)
        if data:
            key.data.sendall(data)
        return bool(data)


def find_free_port() -> int:
    """A port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
