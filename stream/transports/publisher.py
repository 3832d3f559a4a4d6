"""One socket that publishes to any number of subscribers, greets newcomers, and says that it lives.

An XPUB socket: a subscriber that does not keep up loses messages once ``max_waiting`` wait for it, and nobody waits for
it. Its one extra over PUB is that it hears subscriptions, which is how a newcomer asks for what is retained (see
``docs/explanation/decisions/2026-11-21-late-joiners.md``). A thread answers newcomers and beats the heart while
nothing is published.
"""

from __future__ import annotations

import errno
import os
import re
import socket as network
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
from stream.transports.curve import REMEDY, Keys
from stream.transports.zmq_socket import is_loopback

GREETING_INTERVAL_S = 0.05
"""How long a newcomer may wait for its answer: not noticed by people, and next to no work."""

_ADDRESS = re.compile(r"ipc://.+|tcp://(\*|\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5}|\*)")
_MAX_SUBSCRIPTION_BYTES = 4096
_MAX_EVENTS_A_ROUND = 5000
_SUBSCRIBED = 1
_DOMAIN = "posestream"
_PEER_PING_MS = 5_000
_PEER_GONE_MS = 15_000


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counters since it was opened; ``malformed`` counts what strangers sent that is no subscription."""

    published: int = 0
    snapshots: int = 0
    heartbeats: int = 0
    malformed: int = 0


def check_address(address: str, who: str, *, has_keys: bool) -> None:
    """Refuse what is no address, and what leaves this host without keys. Raises :class:`TransportError`."""
    if not _ADDRESS.fullmatch(address):
        raise TransportError(f"{who}: {address!r} is not an address; write tcp://HOST:PORT or ipc://PATH")
    if not has_keys and not is_loopback(address):
        raise TransportError(
            f"{who}: {address} is reachable from other hosts and there are no CURVE keys; "
            f"set keys=, or bind to 127.0.0.1 ({REMEDY})"
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may listen: ``keys`` turn encryption on; ``clients`` is a folder of the public keys
    that are let in, and without it whoever knows the public half of ``keys`` is."""

    keys: Keys | None = None
    clients: Path | None = None


class Publisher:
    """Publishes ``(topic, payload)``; safe to call from any thread.

    ``welcome(topic)`` gives the payloads that answer a subscription to ``topic``, on that very topic; mostly none.
    ``heartbeat()`` makes the (topic, payload) that is sent every ``heartbeat_ms``. Both are called in a thread of the
    publisher's. Raises :class:`TransportError`, after ``patience_s`` when the address is in use.
    """

    def __init__(
        self,
        address: str,
        *,
        welcome: Callable[[str], Sequence[bytes]],
        heartbeat: Callable[[], tuple[str, bytes]],
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        access: Access | None = None,
        who: str = "publisher",
        patience_s: float = 0.0,
    ) -> None:
        access = access or Access()
        check_address(address, who, has_keys=access.keys is not None)
        self._welcome, self._heartbeat, self._heartbeat_s = welcome, heartbeat, heartbeat_ms / 1e3
        self._published = self._snapshots = self._heartbeats = self._malformed = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next_beat_s = 0.0
        # A context of its own, since its authenticator's policy must not meet that of the line's own links.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._guard: ThreadAuthenticator | None = None
        try:
            self._guard = _guarding(self._context, access.clients, who)
            self._socket = _xpub(self._context, max_waiting)
            _encrypt(self._socket, access)
            self.endpoint = _bind(self._socket, address, who, patience_s)
        except BaseException:
            self._end_context()
            raise
        self._thread = threading.Thread(target=self._keep_house, name=f"{who}-house", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send to all who subscribed; never waits for any of them."""
        with self._lock:
            self._socket.send_multipart((topic.encode(), payload))
            self._published += 1

    def statistics(self) -> PublisherStatistics:
        """The counters so far."""
        return PublisherStatistics(self._published, self._snapshots, self._heartbeats, self._malformed)

    def close(self, linger_ms: int = 1000) -> None:
        """Stop publishing; waits up to ``linger_ms`` until what was published has left. Idempotent."""
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

    def _keep_house(self) -> None:
        while not self._stop.wait(GREETING_INTERVAL_S):
            with self._lock:
                for topic in self._subscriptions():
                    self._greet(topic)
                self._beat_when_due()

    def _subscriptions(self) -> Iterator[str]:
        """Topics newly subscribed to; whatever else arrives is counted and dropped."""
        for _ in range(_MAX_EVENTS_A_ROUND):
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

    def _greet(self, topic: str) -> None:
        if answer := self._welcome(topic):
            self._snapshots += 1
            for payload in answer:
                self._socket.send_multipart((topic.encode(), payload))

    def _beat_when_due(self) -> None:
        if time.monotonic() >= self._next_beat_s:
            self._next_beat_s = time.monotonic() + self._heartbeat_s
            topic, payload = self._heartbeat()
            self._socket.send_multipart((topic.encode(), payload))
            self._heartbeats += 1

    def _end_context(self) -> None:
        if self._guard is not None:
            self._guard.stop()
        self._context.destroy()


def _xpub(context: zmq.Context[zmq.Socket[bytes]], max_waiting: int) -> zmq.Socket[bytes]:
    made = context.socket(zmq.XPUB)
    made.setsockopt(zmq.SNDHWM, max_waiting)
    made.setsockopt(zmq.XPUB_NODROP, 0)
    # Told of every subscription, also of one that somebody else has: the old connection of one who comes again may
    # still be there.
    made.setsockopt(zmq.XPUB_VERBOSE, 1)
    made.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
    made.setsockopt(zmq.HEARTBEAT_IVL, _PEER_PING_MS)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PEER_GONE_MS)
    made.setsockopt(zmq.LINGER, 0)
    return made


def _guarding(context: zmq.Context[zmq.Socket[bytes]], clients: Path | None, who: str) -> ThreadAuthenticator | None:
    if clients is None:
        return None
    if not any(clients.glob("*.key")):
        raise TransportError(f"{who}: no public keys (*.key) in {clients}; put those of the subscribers there")
    guard = ThreadAuthenticator(context)
    guard.start()
    guard.configure_curve(domain=_DOMAIN, location=clients)
    return guard


def _encrypt(socket: zmq.Socket[bytes], access: Access) -> None:
    if access.keys is None:
        return
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = access.keys.public, access.keys.secret
    if access.clients is not None:
        socket.zap_domain = _DOMAIN.encode()


def _bind(socket: zmq.Socket[bytes], address: str, who: str, patience_s: float) -> str:
    """Listen on ``address``; returns it with the port that was chosen where it said ``*``."""
    socket.ipv6 = "[" in address
    deadline = time.monotonic() + patience_s
    while True:
        try:
            socket.bind(_numeric(address))
            return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        except (zmq.ZMQError, OSError) as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                raise TransportError(f"{who} cannot bind {address}: {_reason(error)}") from None
        time.sleep(0.1)


def _numeric(address: str) -> str:
    """The same address with its host name resolved, since ZeroMQ binds to numbers and interfaces only."""
    match = _ADDRESS.fullmatch(address)
    if match is None or match[1] is None or match[1] == "*" or match[1].startswith("["):
        return address
    return f"tcp://{network.gethostbyname(match[1])}:{match[2]}"


def _reason(error: OSError | zmq.ZMQError) -> str:
    if isinstance(error, network.gaierror):
        return "no such host; check its name"
    if error.errno == zmq.EADDRINUSE:
        return "the port is in use; stop the other publisher or give another port, bind=tcp://HOST:PORT"
    if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        return "this host has no such address; give one of its own, or * for all"
    return f"{os.strerror(error.errno or 0)}; give an address this process may use"
