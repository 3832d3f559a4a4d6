"""Bounds what connections cost the page: how many are open, and how long one may say nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_OPEN = 256
"""More are closed at once, since the lines of a site open files in the same process."""

REQUEST_S = 10.0
"""A connection that takes longer for a whole request, or to read an answer that waits for it, is closed."""


class BoundedListener(socket.socket):
    """Takes the place of ``listener``, a listening socket, and keeps at most :data:`MAX_OPEN` connections open."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self._open: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises ``BlockingIOError``, as where there is none, after closing one too many."""
        connection, address = super().accept()
        self._open = [one for one in self._open if one.fileno() >= 0]
        if len(self._open) >= MAX_OPEN:
            connection.close()
            raise BlockingIOError
        self._open.append(connection)
        return connection, address


class BoundedProtocol(H11Protocol):
    """HTTP, whose clients have :data:`REQUEST_S` for each request. WebSockets have pings of their own."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop()
        super().handle_websocket_upgrade(event)

    def _expect_progress(self) -> None:
        self._timer = self.loop.call_later(REQUEST_S, self._check, self.cycle)

    def _check(self, cycle: object) -> None:
        """Close the connection if the request is the same as ``cycle`` was and the client keeps it waiting."""
        is_client_due = self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self.flow.write_paused
        if self.cycle is cycle and is_client_due:
            self.transport.abort()
        else:
            self._expect_progress()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
