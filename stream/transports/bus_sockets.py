"""Sockets of the bus: many to one (:class:`BusSender` → :class:`BusReceiver`) and one to many
(:class:`BusPublisher` → :class:`BusSubscriber`).

They carry opaque bytes, never block, and guarantee nothing: a notice without a receiver is lost. That suits statistics
and notices; items travel over :mod:`stream.transports.zmq_link`, which guarantees delivery.
"""

from __future__ import annotations

import zmq

from stream.transports.connection import Connection
from stream.transports.ipc_listener import IpcListener
from stream.transports.zmq_socket import (
    Credentials,
    Socket,
    close_socket,
    closing_on_error,
    listen,
    open_socket,
    receive_parts,
)

MAX_BYTES = 1 << 20
"""Longer messages are not notices; they are counted in ``malformed`` and dropped."""

_LINGER_MS = 500
"""How long a closed sender may still send: the error that ends a part is its last notice."""


class _BusSocket:
    """The base class: an address and a socket."""

    def __init__(self, kind: int, address: str, linger_ms: int = 0) -> None:
        self.address = address
        self._end: IpcListener | Connection | None = None
        self._socket: Socket = open_socket(kind, linger_ms=linger_ms)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 2 * MAX_BYTES)  # beyond that, the connection is closed

    @property
    def pollable(self) -> Socket:
        """The socket to poll, for :func:`stream.transports.zmq_link.wait`."""
        return self._socket

    @property
    def ready(self) -> bool:
        """False: nothing is buffered outside the socket."""
        return False

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self._end is not None and not self._socket.closed:
            self._end.close()
        close_socket(self._socket)

    def _bind(self, keys: Credentials | None) -> None:
        with closing_on_error(self._socket):
            self._end = listen(self._socket, self.address, "the bus", keys)

    def restore(self) -> None:
        """Bind anew if the path was removed, or connect anew if ZeroMQ has given up; call it often."""
        if self._end is not None:
            self._end.restore()

    def _connect(self, keys: Credentials | None) -> None:
        with closing_on_error(self._socket):
            self._end = Connection(self._socket, self.address, "the bus", keys)

    def _send(self, notice: bytes) -> bool:
        self.restore()
        try:
            self._socket.send(notice, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True


class _ReceivingSocket(_BusSocket):
    """The base class of the receiving sockets; ``malformed`` counts messages that cannot be notices."""

    malformed = 0

    def receive(self, max_notices: int = 1000, timeout_ms: int = 0) -> list[bytes]:
        """Return the waiting notices, oldest first; an empty list if none arrive within ``timeout_ms``."""
        self.restore()
        notices: list[bytes] = []
        if timeout_ms and not self._socket.poll(timeout_ms):
            return notices
        for _ in range(max_notices):
            parts = receive_parts(self._socket)
            if not parts:
                break
            self._append(parts, notices)
        return notices

    def _append(self, parts: list[zmq.Frame], notices: list[bytes]) -> None:
        if len(parts) == 1 and len(parts[0]) <= MAX_BYTES:
            notices.append(parts[0].bytes)
        else:
            self.malformed += 1


class BusSender(_BusSocket):
    """Sends to a :class:`BusReceiver`, which may start later."""

    def __init__(self, address: str, *, keys: Credentials | None = None) -> None:
        super().__init__(zmq.PUSH, address, _LINGER_MS)
        self._connect(keys)

    def send(self, notice: bytes) -> bool:
        """Send a notice; False if it was dropped because a thousand are waiting."""
        return self._send(notice)


class BusReceiver(_ReceivingSocket):
    """Receives from any number of :class:`BusSender`."""

    def __init__(self, address: str, *, keys: Credentials | None = None) -> None:
        super().__init__(zmq.PULL, address)
        self._bind(keys)


class BusPublisher(_BusSocket):
    """Publishes to any number of :class:`BusSubscriber`; a slow one loses notices and never slows the publisher."""

    def __init__(self, address: str, *, keys: Credentials | None = None) -> None:
        super().__init__(zmq.PUB, address, _LINGER_MS)
        self._bind(keys)

    def publish(self, notice: bytes) -> None:
        """Send a notice to all current subscribers."""
        self._send(notice)


class BusSubscriber(_ReceivingSocket):
    """Subscribes to a :class:`BusPublisher`, which may start later."""

    def __init__(self, address: str, *, keys: Credentials | None = None) -> None:
        super().__init__(zmq.SUB, address)
        self._socket.subscribe(b"")
        self._connect(keys)
