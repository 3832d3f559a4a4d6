"""The socket of a subscriber: connects to a publisher, which may start later, and again after every kind of failure.

ZeroMQ reconnects by itself, except to a peer that broke the protocol (a wrong program on the port, other keys, a
message that is too long). Such a socket is replaced by a new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import zmq

from stream.errors import TransportError
from stream.transports.curve import Keys
from stream.transports.socket_monitor import ConnectionWatch
from stream.transports.zmq_socket import Socket, check_address, close_socket, is_loopback, open_socket, receive_parts

_KEEPALIVE = {zmq.TCP_KEEPALIVE: 1, zmq.TCP_KEEPALIVE_IDLE: 2, zmq.TCP_KEEPALIVE_INTVL: 2, zmq.TCP_KEEPALIVE_CNT: 2}
"""A publisher whose host is gone is noticed after 6 s. By the system and not by ZeroMQ's heartbeats, which end the
connection of a subscriber that does not read for a while: they wait behind the messages that it has not read. libzmq
4.3.5 may then abort the process, where the next connection takes over the full queue (its issue 3937)."""

_RECONNECT_MS = 100
"""Also the pause between two connections to a peer that refuses them."""


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """The public key of the publisher, and the subscriber's own pair."""

    server: bytes
    own: Keys


class Subscription:
    """A SUB socket connected to ``address`` and subscribed to ``topics``, in this order.

    Messages of more than ``max_bytes`` end the connection; of at most ``max_waiting`` that wait, further ones are lost.
    Not thread-safe. Raises :class:`TransportError` for an invalid address, and for one beyond loopback without keys.
    """

    def __init__(
        self,
        address: str,
        topics: Sequence[str],
        *,
        keys: PeerKeys | None = None,
        max_bytes: int,
        max_waiting: int = 64,
        owner: str = "subscriber",
    ) -> None:
        self._address, self._topics, self._keys, self._owner = address, topics, keys, owner
        self._max_bytes, self._max_waiting = max_bytes, max_waiting
        check_address(address, owner, has_keys=True)
        if keys is None and not is_loopback(address):
            raise TransportError(
                f"{owner}: {address} is another host, which requires CURVE keys; give server_key= (its .key file)"
            )
        self._refusal, self._logged = "", set[str]()
        self._open()

    def poll(self, timeout_ms: int) -> bool:
        """Wait up to ``timeout_ms`` for a message; True if one can be received."""
        if self._socket.poll(timeout_ms):
            return True
        if self._watch.is_given_up():
            self._refusal = self._watch.refusal
            self.close()
            self._open()
        return False

    def receive(self) -> list[zmq.Frame]:
        """Receive the parts of one message; an empty list if none waits."""
        return receive_parts(self._socket)

    def replace_topics(self, renewed: Mapping[str, str]) -> None:
        """Subscribe to the values of ``renewed`` instead of its keys."""
        self._topics = [renewed.get(topic, topic) for topic in self._topics]
        for former, topic in renewed.items():
            self._socket.unsubscribe(former)
            self._socket.subscribe(topic)

    @property
    def refusal(self) -> str:
        """Why the publisher refused the last connection; empty if it did not."""
        return self._watch.refusal

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return bool(self._socket.closed)

    def fileno(self) -> int:
        """The descriptor that becomes readable with messages; another one after a failure. Raises ``OSError``."""
        try:
            return int(self._socket.fileno())
        except zmq.ZMQError as error:
            raise OSError(error.errno, "the subscription is closed") from None

    def close(self) -> None:
        """Close the socket; idempotent."""
        if not self.closed:
            self._watch.close()
            close_socket(self._socket)

    def _open(self) -> None:
        self._socket: Socket = open_socket(zmq.SUB, high_water=self._max_waiting)
        owner = f"{self._owner} of {self._address}"
        self._watch = ConnectionWatch(
            self._socket, owner, has_keys=self._keys is not None, last_refusal=self._refusal, logged=self._logged
        )
        try:
            self._connect()
        except zmq.ZMQError as error:
            self.close()
            raise TransportError(
                f"{self._owner}: {self._address!r}: {os.strerror(error.errno or 0)}; "
                "write tcp://HOST:PORT or ipc://PATH"
            ) from None

    def _connect(self) -> None:
        socket = self._socket
        if self._keys is not None:
            socket.curve_serverkey = self._keys.server
            socket.curve_publickey, socket.curve_secretkey = self._keys.own.public, self._keys.own.secret
        socket.setsockopt(zmq.MAXMSGSIZE, self._max_bytes)
        for option, value in _KEEPALIVE.items():
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.ipv6 = "[" in self._address
        socket.connect(self._address)
        for topic in self._topics:
            socket.subscribe(topic)
