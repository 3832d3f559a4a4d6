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
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.errors import TransportError
from stream.transports import zmq_socket
from stream.transports.curve import REMEDY, Keys
from stream.transports.zmq_socket import bind_address

POLL_INTERVAL_S = 0.05
"""How long a new subscriber waits for its snapshot at most: unnoticeable, and cheap to poll."""

_MAX_SUBSCRIPTION_BYTES = 4096
_MAX_EVENTS_PER_POLL = 5000
_SUBSCRIBED = 1
_DOMAIN = "posestream"
_PEER_PING_MS = 5_000
_PEER_TIMEOUT_MS = 15_000


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counters since the publisher was opened; ``malformed`` counts received messages that are not subscriptions."""

    published: int = 0
    snapshots: int = 0
    heartbeats: int = 0
    malformed: int = 0


def check_address(address: str, owner: str, *, has_keys: bool) -> None:
    """Raise :class:`TransportError` for an invalid address, and for one beyond loopback without keys."""
    remedy = f"set keys=, or bind to 127.0.0.1 ({REMEDY})"
    zmq_socket.check_address(address, owner, has_keys=has_keys, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Access:
    """Access control: ``keys`` turns encryption on; ``clients`` is a folder with the public keys of the allowed
    subscribers. Without ``clients``, every subscriber that has the public key of ``keys`` is allowed."""

    keys: Keys | None = None
    clients: Path | None = None


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
        access: Access | None = None,
        owner: str = "publisher",
        bind_timeout_s: float = 0.0,
    ) -> None:
        access = access or Access()
        check_address(address, owner, has_keys=access.keys is not None)
        self._snapshot, self._heartbeat, self._heartbeat_s = snapshot, heartbeat, heartbeat_ms / 1e3
        self._published = self._snapshots = self._heartbeats = self._malformed = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next_heartbeat_s = 0.0
        # A separate context, since its authenticator must not apply to the line's own links.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        try:
            self._authenticator = _start_authenticator(self._context, access.clients, owner)
            self._socket = _open_xpub(self._context, max_waiting)
            _encrypt(self._socket, access)
            self.endpoint = bind_address(self._socket, address, owner, bind_timeout_s)
        except BaseException:
            self._end_context()
            raise
        self._thread = threading.Thread(target=self._serve, name=f"{owner}-subscriptions", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send to all subscribers of ``topic``; never waits for them."""
        with self._lock:
            self._socket.send_multipart((topic.encode(), payload))
            self._published += 1

    def statistics(self) -> PublisherStatistics:
        """The counters so far."""
        return PublisherStatistics(self._published, self._snapshots, self._heartbeats, self._malformed)

    def close(self, linger_ms: int = 1000) -> None:
        """Stop publishing; waits up to ``linger_ms`` for published messages to be sent. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._socket.close(linger_ms)
        self._end_context()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._stop.wait(POLL_INTERVAL_S):
            with self._lock:
                for topic in self._subscriptions():
                    self._send_snapshot(topic)
                self._send_heartbeat_if_due()

    def _subscriptions(self) -> Iterator[str]:
        """Yield newly subscribed topics; other messages are counted and dropped."""
        for _ in range(_MAX_EVENTS_PER_POLL):
            try:
                event = self._socket.recv(zmq.DONTWAIT)
                if event[:1] == bytes([_SUBSCRIBED]):
                    yield event[1:].decode()
                elif event[:1] != b"\0":
                    self._malformed += 1
            except zmq.Again:
                return
            except UnicodeDecodeError:
                self._malformed += 1

    def _send_snapshot(self, topic: str) -> None:
        if payloads := self._snapshot(topic):
            self._snapshots += 1
            for payload in payloads:
                self._socket.send_multipart((topic.encode(), payload))

    def _send_heartbeat_if_due(self) -> None:
        if time.monotonic() >= self._next_heartbeat_s:
            self._next_heartbeat_s = time.monotonic() + self._heartbeat_s
            topic, payload = self._heartbeat()
            self._socket.send_multipart((topic.encode(), payload))
            self._heartbeats += 1

    def _end_context(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy()


def _open_xpub(context: zmq.Context[zmq.Socket[bytes]], max_waiting: int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.SNDHWM, max_waiting)
    socket.setsockopt(zmq.XPUB_NODROP, 0)
    # Receive every subscription, repeated ones included: the old connection of a reconnecting subscriber may still
    # exist.
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _PEER_PING_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PEER_TIMEOUT_MS)
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def _start_authenticator(
    context: zmq.Context[zmq.Socket[bytes]], clients: Path | None, owner: str
) -> ThreadAuthenticator | None:
    if clients is None:
        return None
    if not any(clients.glob("*.key")):
        raise TransportError(f"{owner}: no public keys (*.key) in {clients}; put those of the subscribers there")
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve(domain=_DOMAIN, location=clients)
    return authenticator


def _encrypt(socket: zmq.Socket[bytes], access: Access) -> None:
    if access.keys is None:
        return
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = access.keys.public, access.keys.secret
    if access.clients is not None:
        socket.zap_domain = _DOMAIN.encode()
