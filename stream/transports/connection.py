"""A connection that is made anew whenever ZeroMQ has given it up.

ZeroMQ reconnects by itself, except to a peer that broke the protocol or refused it: another program that listened on
the port for a moment would leave the socket deaf for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import zmq

from stream.transports.socket_monitor import CONNECTING, ConnectionState, SocketMonitor
from stream.transports.zmq_socket import Credentials, Socket, connect


class Connection:
    """Connects ``socket`` to ``address``, which may be bound later; ``owner`` names it in messages.

    To be used by the socket's thread. Raises :class:`stream.errors.TransportError` for an invalid address.
    """

    def __init__(
        self,
        socket: Socket,
        address: str,
        owner: str,
        keys: Credentials | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket, self._address, self._now_s = socket, address, now_s
        self._state = ConnectionState()
        self._monitor = SocketMonitor(socket, CONNECTING)
        try:
            connect(socket, address, owner, keys)
        except BaseException:
            self.close()
            raise

    def restore(self) -> bool:
        """Connect anew if ZeroMQ has given up; call it often. True while something else than our peer listens there."""
        for kind, value in self._monitor.read():
            self._state.take(kind, value, self._now_s())
        if is_given_up := self._state.is_given_up(self._now_s()):
            self._state = ConnectionState()
            with contextlib.suppress(zmq.ZMQError):  # it was not connected
                self._socket.disconnect(self._address)
            self._socket.connect(self._address)
        return is_given_up or bool(self._state.refusal)

    def close(self) -> None:
        """Stop watching; to be called before the socket is closed. Idempotent."""
        self._monitor.close()
