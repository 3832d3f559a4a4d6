"""Sockets for the bus: many tell one (:class:`BusSender` → :class:`BusReceiver`), one tells many
(:class:`BusPublisher` → :class:`BusSubscriber`).

They carry opaque bytes, never block the caller, and promise nothing: what nobody hears is lost. That is right for
statistics and notices; items travel over :mod:`stream.transports.zmq_link`, which promises everything.
"""

from __future__ import annotations

import zmq

from stream.transports.curve import Keys
from stream.transports.zmq_socket import Socket, bind, close_socket, connect, open_socket, receive_parts

MAX_BYTES = 1 << 20
"""Longer notices than this are not ours; they are counted in ``malformed`` and dropped."""

_LAST_WORDS_MS = 500
"""How long a closed sender may take to get rid of its last words: the error that ends a stage is one of them."""


class _BusSocket:
    """What the four have in common: an address, a socket, an end."""

    def __init__(self, kind: int, address: str, linger_ms: int = 0) -> None:
        self.address = address
        self._socket: Socket = open_socket(kind, linger_ms=linger_ms)

    @property
    def pollable(self) -> Socket:
        """What :func:`stream.transports.zmq_link.wait` watches."""
        return self._socket

    @property
    def ready(self) -> bool:
        """Nothing is ever kept on this side of the socket."""
        return False

    def close(self) -> None:
        """Give back the socket; idempotent."""
        close_socket(self._socket)

    def _bind(self, who: str, keys: Keys | None) -> None:
        try:
            self.address = bind(self._socket, self.address, who, keys)
        except BaseException:
            self.close()
            raise

    def _connect(self, who: str, keys: Keys | None) -> None:
        try:
            connect(self._socket, self.address, who, keys)
        except BaseException:
            self.close()
            raise

    def _send(self, notice: bytes) -> bool:
        try:
            self._socket.send(notice, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True


class _Listener(_BusSocket):
    """The receiving two: they count what cannot be a notice."""

    malformed = 0

    def receive(self, max_notices: int = 1000, timeout_ms: int = 0) -> list[bytes]:
        """The notices that wait, oldest first; an empty list when none came within ``timeout_ms``."""
        notices: list[bytes] = []
        if timeout_ms and not self._socket.poll(timeout_ms):
            return notices
        for _ in range(max_notices):
            parts = receive_parts(self._socket)
            if not parts:
                break
            self._keep(parts, notices)
        return notices

    def _keep(self, parts: list[zmq.Frame], notices: list[bytes]) -> None:
        if len(parts) == 1 and len(parts[0]) <= MAX_BYTES:
            notices.append(parts[0].bytes)
        else:
            self.malformed += 1


class BusSender(_BusSocket):
    """One of many that report to one :class:`BusReceiver`, which need not be there yet."""

    def __init__(self, address: str, *, keys: Keys | None = None) -> None:
        super().__init__(zmq.PUSH, address, _LAST_WORDS_MS)
        self._connect("the bus", keys)

    def send(self, notice: bytes) -> bool:
        """Report; False when the notice had to be dropped because a thousand are waiting to be heard."""
        return self._send(notice)


class BusReceiver(_Listener):
    """The one whom many :class:`BusSender` report to."""

    def __init__(self, address: str, *, keys: Keys | None = None) -> None:
        super().__init__(zmq.PULL, address)
        self._bind("the bus", keys)


class BusPublisher(_BusSocket):
    """Tells whoever listens; a slow listener loses notices, never slows the publisher."""

    def __init__(self, address: str, *, keys: Keys | None = None) -> None:
        super().__init__(zmq.PUB, address, _LAST_WORDS_MS)
        self._bind("the bus", keys)

    def publish(self, notice: bytes) -> None:
        """Tell everybody who listens at this moment."""
        self._send(notice)


class BusSubscriber(_Listener):
    """One of many that listen to a :class:`BusPublisher`, which need not be there yet."""

    def __init__(self, address: str, *, keys: Keys | None = None) -> None:
        super().__init__(zmq.SUB, address)
        self._socket.subscribe(b"")
        self._connect("the bus", keys)
