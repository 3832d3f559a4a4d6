"""The socket of a relay to which publishers connect: an XSUB socket that listens.

ZeroMQ reads from all publishers in turn and keeps at most :data:`MAX_WAITING` messages of each, so one that floods
fills its own queue, and then the network's. What is sent on the socket, subscriptions and answers, reaches all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import zmq

from stream.transports.access import Access, find_connection, find_user
from stream.transports.listening_socket import ListeningSocket
from stream.transports.peers import REVOKED
from stream.transports.zmq_socket import HANDSHAKE_MS, receive_parts

MAX_WAITING = 16
"""Messages of each publisher that wait here; as many as fit wait in its own queue and in the network."""

_MAX_ANSWERS_WAITING = 64
_MESSAGES_PER_TURN = 256
_PING_MS, _PING_TIMEOUT_MS = 2_000, 6_000


class Intake:
    """Receives the messages of publishers; not thread-safe.

    ``topics`` is what it always wants of them; messages of more than ``max_bytes`` end a connection.
    ``on_disconnected`` receives the number of a connection that has ended. Raises :class:`TransportError`.
    """

    def __init__(
        self,
        address: str,
        *,
        topics: Sequence[str],
        on_disconnected: Callable[[int], object],
        max_bytes: int,
        max_publishers: int = 256,
        access: Access | None = None,
        owner: str = "relay",
    ) -> None:
        self._on_disconnected = on_disconnected
        self._extra: frozenset[str] = frozenset()
        # Descriptors are used again; these numbers are not.
        self._connections: dict[int, int] = {}
        self._numbers = itertools.count()
        self._listening = ListeningSocket(
            partial(_open_xsub, max_bytes=max_bytes),
            address,
            access=access,
            owner=f"{owner} (publishers)",
            most=max_publishers,
            option="--max-publishers",
        )
        self.endpoint = self._listening.endpoint
        self._socket, self._peers = self._listening.socket, self._listening.peers
        for topic in topics:
            self._subscribe(topic, wanted=True)

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def refused(self) -> int:
        """Publishers that were disconnected for a limit or a revoked key."""
        return self._peers.refused

    def receive(self, timeout_ms: int) -> Iterator[tuple[list[zmq.Frame], int]]:
        """Wait up to ``timeout_ms`` for messages; yield some that wait, each with the number of its connection, or -1
        if that has ended."""
        self._socket.poll(timeout_ms)
        self._watch_connections()
        for _ in range(_MESSAGES_PER_TURN):
            parts = receive_parts(self._socket)
            if not parts:
                return
            if self._is_admitted(parts[0]):
                yield parts, self._find(parts[0])

    def count_stray(self, parts: Sequence[zmq.Frame]) -> None:
        """What was received is no message of a publisher; after a hundred, its connection ends."""
        self._peers.count_stray(find_connection(parts[0]))

    def answer(self, content: bytes) -> None:
        """Send ``content`` to all publishers; lost where one does not keep up."""
        self._socket.send(content, zmq.DONTWAIT)

    def want(self, topics: frozenset[str]) -> None:
        """Want these ``topics`` beside those that it always wants, and no others."""
        for topic in self._extra - topics:
            self._subscribe(topic, wanted=False)
        for topic in topics - self._extra:
            self._subscribe(topic, wanted=True)
        self._extra = topics

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, frame: zmq.Frame) -> int:
        descriptor = find_connection(frame)
        if descriptor not in self._connections:
            self._watch_connections()  # it may have begun a moment ago
        return self._connections.get(descriptor, -1)

    def _subscribe(self, topic: str, *, wanted: bool) -> None:
        self._socket.send(bytes([wanted]) + topic.encode())

    def _watch_connections(self) -> None:
        self._listening.restore()
        for descriptor, has_begun in self._listening.connections():
            if has_begun:
                self._connections[descriptor] = next(self._numbers)
                self._peers.connect(descriptor)
            elif descriptor in self._connections:
                self._peers.disconnected(descriptor)
                self._on_disconnected(self._connections.pop(descriptor))
        self._listening.revoke_keys()

    def _is_admitted(self, frame: zmq.Frame) -> bool:
        allowed = self._listening.allowed
        if allowed is None:
            return True
        descriptor, key = find_connection(frame), find_user(frame)
        self._peers.identify(descriptor, key)
        return allowed.is_allowed(key.encode()) or self._peers.refuse(descriptor, REVOKED)


def _open_xsub(context: zmq.Context[zmq.Socket[bytes]], max_bytes: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.XSUB)
    socket.setsockopt(zmq.RCVHWM, MAX_WAITING)
    socket.setsockopt(zmq.SNDHWM, _MAX_ANSWERS_WAITING)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _PING_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PING_TIMEOUT_MS)
    socket.setsockopt(zmq.LINGER, 0)
    return socket
