"""A socket that publishes to any number of subscribers, with snapshots for new ones and heartbeats.

It is an XPUB socket: a subscriber that does not keep up loses messages once ``max_waiting`` wait for it, and the others
are not delayed. Unlike PUB, it receives subscriptions, by which a new subscriber requests a snapshot (see
``docs/explanation/decisions/2026-11-21-late-joiners.md``). A thread answers them and sends the heartbeats.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import zmq

from stream.transports import zmq_socket
from stream.transports.access import Access, find_connection, find_user
from stream.transports.curve import REMEDY
from stream.transports.listening_socket import ListeningSocket
from stream.transports.peers import REVOKED
from stream.transports.snapshots import Snapshots
from stream.transports.zmq_socket import HANDSHAKE_MS

POLL_INTERVAL_S = 0.05
"""How long a new subscriber waits for its snapshot at most: unnoticeable, and cheap to poll."""

_MAX_SUBSCRIPTION_BYTES = 1024
"""Of a message of a client: a topic and what CURVE adds; ZeroMQ disconnects the sender of a longer one."""

_SUBSCRIPTIONS_WAITING = 2
"""Of each client, in ZeroMQ. With more of them, it takes in subscriptions as fast as they arrive and never returns."""

_MAX_EVENTS_PER_TURN, _MAX_TURNS = 64, 20
"""So that neither publishing nor heartbeats wait long while clients send many subscriptions."""

_TURN_S = 0.002

_PARTS_OF_QUEUE = 4
"""A client is sent so large a part of its queue of a snapshot at a time, which leaves room for what is published."""

_FINISH_S = 1.0
"""How long closing waits for clients to receive their snapshots."""

_RECEIVE_BUFFER_BYTES = 16 * 1024
_SUBSCRIBED, _UNSUBSCRIBED = 1, 0
_PEER_PING_MS = 5_000
_PEER_TIMEOUT_MS = 60_000
"""A subscriber answers when it has read what was sent before, so a slow one answers late."""


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counters since the publisher was opened, except ``clients``, which are connected now. ``malformed`` counts
    received messages that are not subscriptions, ``refused`` the clients disconnected for a limit or a revoked key,
    ``overflows`` how often the queue of a client became full, which then loses messages until half of it is free."""

    published: int = 0
    snapshots: int = 0
    heartbeats: int = 0
    malformed: int = 0
    clients: int = 0
    refused: int = 0
    overflows: int = 0


def check_address(address: str, owner: str, *, has_keys: bool) -> None:
    """Raise :class:`TransportError` for an invalid address, and for one beyond loopback without keys."""
    remedy = f"set keys=, or bind to 127.0.0.1 ({REMEDY})"
    zmq_socket.check_address(address, owner, has_keys=has_keys, remedy=remedy)


class Publisher:
    """Publishes ``(topic, payload)``; thread-safe.

    ``snapshot(topic)`` returns the payloads that answer a subscription to ``topic``, sent on that topic; mostly none.
    ``heartbeat()`` returns the (topic, payload) sent every ``heartbeat_ms``. Both are called in a thread of the
    publisher. Raises :class:`TransportError`; a port in use is retried for ``bind_timeout_s``.
    """

    def __init__(
        self,
        address: str,
        *,
        snapshot: Callable[[str], Sequence[bytes]],
        heartbeat: Callable[[], tuple[str, bytes]],
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        max_subscribers: int = 256,
        access: Access | None = None,
        owner: str = "publisher",
        bind_timeout_s: float = 0.0,
    ) -> None:
        check_address(address, owner, has_keys=access is not None and access.keys is not None)
        self._heartbeat, self._heartbeat_s = heartbeat, heartbeat_ms / 1e3
        self._snapshots = Snapshots(snapshot, self._send_if_room, max(1, max_waiting // _PARTS_OF_QUEUE))
        self._published = self._completed = self._heartbeats = self._malformed = self._overflows = 0
        self._lock = threading.Lock()
        self._stop, self._asked = threading.Event(), threading.Event()
        self._next_heartbeat_s = 0.0
        self._topics: frozenset[bytes] = frozenset()
        self._topics_changes = 0
        self._listening = ListeningSocket(
            partial(_open_xpub, max_waiting=max_waiting),
            address,
            access=access,
            owner=owner,
            most=max_subscribers,
            option="max_subscribers=",
            bind_timeout_s=bind_timeout_s,
        )
        self.endpoint = self._listening.endpoint
        self._socket, self._peers = self._listening.socket, self._listening.peers
        self._thread = threading.Thread(target=self._serve, name=f"{owner}-subscriptions", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send to all subscribers of ``topic``; never waits for them."""
        with self._lock:
            if not self._send_if_room(topic, payload):
                self._overflows += 1
                self._send_to_others(topic, payload)
            self._published += 1

    def is_wanted(self, topic: str) -> bool:
        """True if a client is subscribed to ``topic``, as of :data:`POLL_INTERVAL_S` ago; cheap, from any thread."""
        name, topics = topic.encode(), self._topics
        return any(name[:end] in topics for end in range(len(name) + 1))

    def statistics(self) -> PublisherStatistics:
        """The counters so far."""
        return PublisherStatistics(
            self._published,
            self._completed,
            self._heartbeats,
            self._malformed,
            len(self._peers),
            self._peers.refused,
            self._overflows,
        )

    def wait_until_asked(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` until the first snapshot has been sent, now or before."""
        self._asked.wait(timeout_s)

    def close(self, linger_ms: int = 1000) -> None:
        """Answer who has subscribed so far, send a last heartbeat, and stop publishing; idempotent.

        Waits up to ``linger_ms`` for published messages to be sent.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._listening.close(linger_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._watch_connections(round(POLL_INTERVAL_S * 1000))
            with self._lock:
                self._listening.restore()
            self._listening.revoke_keys()
            self._answer()
            self._read_topics()
            self._continue_snapshots()
            self._send_heartbeat_if_due()
        self._finish_snapshots()
        self._next_heartbeat_s = 0.0
        self._send_heartbeat_if_due()

    def _read_topics(self) -> None:
        if self._topics_changes != self._peers.changes:
            self._topics_changes = self._peers.changes
            self._topics = self._peers.topics()

    def _finish_snapshots(self) -> None:
        until_s = time.monotonic() + _FINISH_S
        self._answer()
        self._continue_snapshots()
        while self._snapshots and time.monotonic() < until_s:
            self._watch_connections(round(_TURN_S * 1000))
            self._continue_snapshots()

    def _watch_connections(self, timeout_ms: int) -> None:
        """Wait for connections to begin or end."""
        for descriptor, has_begun in self._listening.connections(timeout_ms):
            if has_begun:
                self._peers.connect(descriptor)
            else:
                self._peers.disconnected(descriptor)

    def _answer(self) -> None:
        """Read all subscriptions and answer those to snapshots; publishing goes on in between."""
        for _ in range(_MAX_TURNS):
            with self._lock:
                frames = list(self._receive())
            if not frames:
                return
            self._watch_connections(0)  # after receiving, so that the sender of each frame is known
            for frame in frames:
                self._take(frame)
            time.sleep(_TURN_S)

    def _receive(self) -> Iterator[zmq.Frame]:
        for _ in range(_MAX_EVENTS_PER_TURN):
            try:
                yield self._socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return

    def _take(self, frame: zmq.Frame) -> None:
        """Take a subscription; other messages are counted and dropped."""
        descriptor, key, content = find_connection(frame), find_user(frame), frame.bytes
        kind, topic, allowed = content[:1], content[1:], self._listening.allowed
        if allowed is not None and not allowed.is_allowed(key.encode()):
            self._peers.refuse(descriptor, REVOKED)
        elif kind == bytes([_UNSUBSCRIBED]):
            self._peers.unsubscribe(descriptor, topic)
            self._snapshots.withdraw(descriptor, topic.decode(errors="replace"))
        elif kind == bytes([_SUBSCRIBED]) and _is_text(topic):
            if self._peers.subscribe(descriptor, topic, key):
                self._snapshots.ask(descriptor, topic.decode())
        else:
            self._malformed += 1
            self._peers.count_stray(descriptor)

    def _continue_snapshots(self) -> None:
        with self._lock:
            completed = self._snapshots.take_turn(self._peers)
        self._completed += completed
        if completed:
            self._asked.set()

    def _send_if_room(self, topic: str, payload: bytes) -> bool:
        """Send to the clients of ``topic``; False, and nothing is sent, if the queue of one of them is full."""
        try:
            self._socket.send_multipart((topic.encode(), payload), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _send_to_others(self, topic: str, payload: bytes) -> None:
        """Send to the clients of ``topic`` whose queues have room."""
        self._socket.setsockopt(zmq.XPUB_NODROP, 0)
        try:
            self._socket.send_multipart((topic.encode(), payload))
        finally:
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def _send_heartbeat_if_due(self) -> None:
        if time.monotonic() >= self._next_heartbeat_s:
            self._next_heartbeat_s = time.monotonic() + self._heartbeat_s
            with self._lock:
                topic, payload = self._heartbeat()
                if not self._send_if_room(topic, payload):
                    self._send_to_others(topic, payload)
            self._heartbeats += 1


def _open_xpub(context: zmq.Context[zmq.Socket[bytes]], max_waiting: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.SNDHWM, max_waiting)
    socket.setsockopt(zmq.XPUB_NODROP, 1)
    # Receive every subscription, repeated ones included: the old connection of a reconnecting subscriber may still
    # exist. And their ends, so that a client may change its mind for ever within its limits.
    socket.setsockopt(zmq.XPUB_VERBOSER, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
    socket.setsockopt(zmq.RCVHWM, _SUBSCRIPTIONS_WAITING)
    socket.setsockopt(zmq.RCVBUF, _RECEIVE_BUFFER_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _PEER_PING_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PEER_TIMEOUT_MS)
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def _is_text(topic: bytes) -> bool:
    try:
        topic.decode()
    except UnicodeDecodeError:
        return False
    return True
