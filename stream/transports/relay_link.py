"""The connection of a publisher to a relay, which it opens itself, so that its own host needs no open port.

It is an XPUB socket that connects to the XSUB socket of the relay: the relay's subscriptions say what it wants, and
single messages of the relay are answers to a publisher. After each connection the publisher introduces itself before it
publishes: with its skeletons, and a heartbeat with the number of the last message of each camera.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from stream import wording
from stream.errors import TransportError
from stream.transports.socket_monitor import CONNECTING, ConnectionState, PeerTerms, SocketMonitor
from stream.transports.subscription import PeerKeys
from stream.transports.zmq_socket import HANDSHAKE_MS, check_address, is_loopback

_LOG = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.05
"""How long an answer of the relay waits at most."""

_PING_MS, _PING_TIMEOUT_MS = 1_000, 3_000
_RECONNECT_MS = 100
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_TOPICS = 4096
_MAX_EVENTS_PER_TURN = 256
_AWAY_S = 2.0
"""A relay that has not answered for so long after a connection was wanted is called away."""

_SUBSCRIBED, _UNSUBSCRIBED = 1, 0
_TERMS = PeerTerms("posestream relay", "relay_key=", "keys=", "--publisher-keys", "--max-publishers")

Message = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Introduction:
    """How a publisher introduces itself: once the relay wants all of ``topics``, with the messages of ``make()``."""

    topics: frozenset[str]
    make: Callable[[], Sequence[Message]]


class RelayLink:
    """Publishes ``(topic, payload)`` at the relay at ``address``, each with the part ``origin``; thread-safe.

    ``heartbeat()`` returns what is sent every ``heartbeat_ms``, and ``on_answer(content)`` receives the messages of the
    relay; both are called in a thread of the link. At most ``max_waiting`` messages wait for a relay that does not keep
    up. Raises :class:`TransportError` for an invalid address, and for one beyond loopback without keys.
    """

    def __init__(
        self,
        address: str,
        *,
        origin: bytes,
        introduction: Introduction,
        heartbeat: Callable[[], Message],
        on_answer: Callable[[bytes], object],
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        keys: PeerKeys | None = None,
        owner: str = "publisher",
    ) -> None:
        check_relay_address(address, owner, has_keys=keys is not None)
        self.endpoint, self._keys, self._owner = address, keys, owner
        self._origin, self._introduction, self._on_answer = origin, introduction, on_answer
        self._heartbeat, self._heartbeat_s, self._max_waiting = heartbeat, heartbeat_ms / 1e3, max_waiting
        self.dropped = 0
        """Messages that were lost because the relay was away, or did not keep up."""
        self._dropped_before = 0
        self.joins = 0
        """How often a relay has taken the introduction: once, and again after each break of the connection."""
        self._lock = threading.Lock()
        self._stop, self._joined = threading.Event(), threading.Event()
        self._wanted: set[bytes] = set()
        self._topics: frozenset[bytes] = frozenset()
        self._next_heartbeat_s = 0.0
        self._away_since_s = time.monotonic()
        self._is_away = False
        self._refusal, self._logged = "", set[str]()
        # A context of its own, whose end waits for what is still to be sent.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._open()
        self._thread = threading.Thread(target=self._serve, name=f"{owner}-relay", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, counts: bool = True) -> bool:
        """Send without waiting; False if that was not possible, which is counted in ``dropped`` if it ``counts``."""
        with self._lock:
            is_sent = self._joined.is_set() and self._send(topic, payload)
            self.dropped += counts and not is_sent
        return is_sent

    def is_wanted(self, topic: str) -> bool:
        """True if the relay is subscribed to ``topic``; cheap, from any thread."""
        name, topics = topic.encode(), self._topics
        return any(name[:end] in topics for end in range(len(name) + 1))

    def send_heartbeat(self) -> None:
        """Send the next heartbeat now."""
        self._next_heartbeat_s = 0.0

    def wait_until_joined(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` until the relay takes messages; True if it does."""
        return self._joined.wait(timeout_s)

    @property
    def refusal(self) -> str:
        """Why the relay refused the last connection; empty if it did not."""
        return self._state.refusal

    def status(self) -> str:
        """A few words, where something is amiss; else empty."""
        away = "" if self._joined.is_set() else f"relay {self.endpoint} is away"
        dropped = f"{wording.count(self.dropped, 'message')} dropped" if self.dropped else ""
        return ", ".join(filter(None, (away, dropped)))

    def close(self, linger_ms: int = 1000) -> None:
        """Send a last heartbeat and close; waits up to ``linger_ms`` for published messages to be sent. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        if self._is_away and self._dropped_before < self.dropped:
            lost = self.dropped - self._dropped_before
            _LOG.warning(
                "%s: the relay %s is still away; %s dropped", self._owner, self.endpoint, wording.count(lost, "message")
            )
        with self._lock:
            self._joined.clear()
            self._close_socket(linger_ms)
            self._context.term()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._watch_connection(round(POLL_INTERVAL_S * 1000))
            self._read_answers()
            self._join_if_wanted()
            self._say_if_away()
            self._send_heartbeat_if_due()
        self._next_heartbeat_s = 0.0
        self._send_heartbeat_if_due()

    def _watch_connection(self, timeout_ms: int) -> None:
        """Take the events of the connection, before what the relay has sent over it is read."""
        for kind, value in self._monitor.read(timeout_ms):
            self._state.take(kind, value, time.monotonic())
            if kind == zmq.EVENT_DISCONNECTED:
                self._leave()
        if (refusal := self._state.refusal) != self._refusal:
            self._refusal = refusal
            if refusal and refusal not in self._logged:
                self._logged.add(refusal)
                _LOG.warning("%s: the relay %s refuses this publisher: %s", self._owner, self.endpoint, refusal)
        if self._state.is_given_up(time.monotonic()):
            with self._lock:
                self._close_socket(0)
                self._open()

    def _leave(self) -> None:
        with self._lock:
            self._wanted.clear()
            self._topics = frozenset()
            if self._joined.is_set():
                self._joined.clear()
                self._away_since_s = time.monotonic() - _AWAY_S  # a relay that was there is away at once

    def _read_answers(self) -> None:
        for _ in range(_MAX_EVENTS_PER_TURN):
            try:
                with self._lock:
                    content = self._socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._take(content)

    def _take(self, content: bytes) -> None:
        kind, topic = content[:1], content[1:]
        if kind == bytes([_SUBSCRIBED]):
            if len(self._wanted) < _MAX_TOPICS:
                self._wanted.add(topic)
        elif kind == bytes([_UNSUBSCRIBED]):
            self._wanted.discard(topic)
        else:
            self._on_answer(content)
        self._topics = frozenset(self._wanted)

    def _join_if_wanted(self) -> None:
        """Introduce the publisher to a relay that has just connected, and only then let it publish."""
        if self._joined.is_set() or not {topic.encode() for topic in self._introduction.topics} <= self._wanted:
            return
        with self._lock:
            for topic, payload in self._introduction.make():
                self._send(topic, payload)
            self.joins += 1
            self._joined.set()
        self._logged.clear()
        if self._is_away:
            self._is_away = False
            lost, self._dropped_before = self.dropped - self._dropped_before, self.dropped
            rest = f"; {wording.count(lost, 'message')} dropped meanwhile" if lost else ""
            _LOG.warning("%s: the relay %s is back%s", self._owner, self.endpoint, rest)

    def _say_if_away(self) -> None:
        if self._joined.is_set() or self._is_away or time.monotonic() - self._away_since_s < _AWAY_S:
            return
        self._is_away = True
        if not self._refusal:
            _LOG.warning("%s: the relay %s is away; trying again until it is back", self._owner, self.endpoint)

    def _send_heartbeat_if_due(self) -> None:
        if self._joined.is_set() and time.monotonic() >= self._next_heartbeat_s:
            self._next_heartbeat_s = time.monotonic() + self._heartbeat_s
            with self._lock:
                self._send(*self._heartbeat())

    # -- the socket, with the lock -------------------------------------------------------------------------------------

    def _send(self, topic: str, payload: bytes) -> bool:
        try:
            self._socket.send_multipart((topic.encode(), payload, self._origin), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.XPUB)
        self._monitor = SocketMonitor(self._socket, CONNECTING)
        self._state = ConnectionState(has_keys=self._keys is not None, terms=_TERMS)
        self._state.refusal = self._refusal
        try:
            self._connect()
        except zmq.ZMQError as error:
            self._close_socket(0)
            self._context.term()
            raise TransportError(
                f"{self._owner}: relay={self.endpoint}: {os.strerror(error.errno or 0)}; write tcp://HOST:PORT"
            ) from None

    def _connect(self) -> None:
        socket = self._socket
        if self._keys is not None:
            socket.curve_serverkey = self._keys.server
            socket.curve_publickey, socket.curve_secretkey = self._keys.own.public, self._keys.own.secret
        socket.set_hwm(self._max_waiting)
        socket.setsockopt(zmq.XPUB_NODROP, 1)  # what cannot be sent is counted here
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # a relay that is back subscribes once more
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_ANSWER_BYTES)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, _PING_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PING_TIMEOUT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 0)
        socket.ipv6 = "[" in self.endpoint
        socket.connect(self.endpoint)

    def _close_socket(self, linger_ms: int) -> None:
        self._monitor.close()
        self._socket.close(linger_ms)


def check_relay_address(address: str, owner: str, *, has_keys: bool) -> None:
    """Raise :class:`TransportError` for an address that is invalid, has no port, or is another host's without keys."""
    check_address(address, owner, has_keys=True)
    if address.endswith((":*", ":0")) or address.startswith("tcp://*"):
        raise TransportError(
            f"{owner}: relay={address} names no host and port; write those of the relay's --publishers"
        )
    if not has_keys and not is_loopback(address):
        raise TransportError(
            f"{owner}: relay={address} is another host, which requires CURVE keys; "
            "set relay_key= to the relay's .key file and keys= to your own .key_secret file"
        )
