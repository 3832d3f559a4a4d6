"""ZeroMQ sockets as this house opens them: bounded, quick to close, and closed to strangers beyond this host.

One context a process, ended with its last socket: a context for every restart would leak (a peer's measurement: 16 kB
each). High-water marks are set before bind and connect, since later they count for nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket as network
import threading
import time
from collections.abc import Sequence

import zmq
import zmq.auth.thread

from stream.errors import TransportError
from stream.transports.base import MAX_BUFFER_BYTES, MAX_BUFFERS
from stream.transports.curve import VARIABLE, Keys

MAX_PARTS = MAX_BUFFERS + 2
"""The most parts of one message that are kept (sender, head, buffers); of a longer one the rest is thrown away as it
arrives, all but one part, by which it is known to be too long."""

_DOMAIN = b"posestream"
_PATIENCE_S = 1.0
_TCP = re.compile(r"tcp://(\*|\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5}|\*)")

Socket = zmq.Socket[bytes]


class _Process:
    """The one context of this process, and its authenticator once some socket asked for keys."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._context: zmq.Context[Socket] | None = None
        self._guard: zmq.auth.thread.ThreadAuthenticator | None = None
        self._allowed: set[bytes] = set()
        self._users = 0
        self._pid = os.getpid()

    def acquire(self) -> zmq.Context[Socket]:
        with self._lock:
            if self._pid != os.getpid():  # a context must not be used across fork
                self._forget()
            if self._context is None:
                self._context = zmq.Context()
            self._users += 1
            return self._context

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._context is not None and self._pid == os.getpid():
                self._end(self._context)

    def _end(self, context: zmq.Context[Socket]) -> None:
        if self._guard is not None:
            self._guard.stop()
        context.term()  # waits, no longer than their linger, for what closed sockets still have to send
        self._forget()

    def allow(self, public: bytes) -> None:
        """Let clients that hold this public key's secret half in, and no others."""
        with self._lock:
            self._allowed.add(public)
            if self._guard is None and self._context is not None:
                self._guard = zmq.auth.thread.ThreadAuthenticator(self._context)
                self._guard.start()
                self._guard.configure_curve_callback(domain=_DOMAIN.decode(), credentials_provider=self)

    def callback(self, _domain: str, key: bytes) -> bool:
        """Asked by the authenticator, in its thread, for every client that knocks."""
        return key in self._allowed


_process = _Process()


def open_socket(kind: int, *, linger_ms: int = 0, high_water: int = 1000) -> Socket:
    """A bounded socket that forgets ``linger_ms`` after its end; give it back with :func:`close_socket`."""
    made = _process.acquire().socket(kind)
    made.linger = linger_ms
    made.set_hwm(high_water)
    made.setsockopt(zmq.MAXMSGSIZE, MAX_BUFFER_BYTES)
    made.setsockopt(zmq.RECONNECT_IVL, 20)
    made.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    made.setsockopt(zmq.TCP_KEEPALIVE, 1)
    made.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    return made


def close_socket(socket: Socket) -> None:
    """Close it, and the context with the last one; idempotent."""
    if not socket.closed:
        socket.close()
        _process.release()


def bind(socket: Socket, address: str, who: str, keys: Keys | None = None) -> str:
    """Listen on ``address``; returns the address with the port that was chosen where it said ``*``.

    Raises :class:`TransportError`: no address, port in use, no such host, or beyond loopback without keys.
    """
    where = _checked(address, who, keys)
    if keys is not None and where.startswith("tcp://"):
        _process.allow(keys.public)
        socket.curve_server = True
        socket.curve_secretkey = keys.secret
        socket.zap_domain = _DOMAIN
    socket.ipv6 = "[" in where
    try:
        _bind(socket, _numeric(where))
    except (zmq.ZMQError, OSError) as error:
        raise TransportError(f"{who} cannot listen on {address}: {_reason(error)}") from None
    bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return bound if address.endswith(":*") else address


def _bind(socket: Socket, address: str) -> None:
    """Bind, with a moment's patience: who had the port before may still be on his way out."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.bind(address)
            return
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def connect(socket: Socket, address: str, who: str, keys: Keys | None = None) -> None:
    """Connect to ``address``, now or whenever somebody listens there. Raises :class:`TransportError`."""
    where = _checked(address, who, keys)
    if keys is not None and where.startswith("tcp://"):
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.curve_serverkey = keys.public
    socket.ipv6 = "[" in where
    try:
        socket.connect(where)
    except zmq.ZMQError as error:
        raise TransportError(f"{who} cannot connect to {address}: {_reason(error)}") from None


def receive_parts(socket: Socket) -> list[zmq.Frame]:
    """The parts of one waiting message, at most :data:`MAX_PARTS` + 1 of them; none when no message waits."""
    if not int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:  # asked first, since an exception costs more than asking
        return []
    parts = [socket.recv(zmq.DONTWAIT, copy=False)]
    last = parts[0]
    while last.more:
        last = socket.recv(zmq.DONTWAIT, copy=False)
        if len(parts) <= MAX_PARTS:
            parts.append(last)
    return parts


def send_parts(socket: Socket, parts: Sequence[bytes | memoryview]) -> None:
    """Send one message without waiting; large parts are not copied. Raises ``zmq.Again`` when there is no room."""
    for part in parts[:-1]:
        socket.send(part, zmq.DONTWAIT | zmq.SNDMORE, copy=False)
    socket.send(parts[-1], zmq.DONTWAIT, copy=False)


def is_loopback(address: str) -> bool:
    """True for ``ipc://``, ``inproc://`` and for tcp to this very host by a loopback name."""
    match = _TCP.fullmatch(address)
    if match is None:
        return not address.startswith("tcp://")
    host = match[1].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(address: str, who: str, keys: Keys | None) -> str:
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        return _short_enough(address, who)
    if address.startswith("inproc://"):
        return address
    match = _TCP.fullmatch(address)
    if match is None or (match[2] != "*" and int(match[2]) > 65535):
        raise TransportError(f"{who}: {address!r} is not an address; write ipc://PATH or tcp://HOST:PORT")
    if keys is None and not is_loopback(address):
        raise TransportError(
            f"{who}: {address} leaves this host and there are no CURVE keys; "
            f"make a key file with posestream keygen --line FILE and set {VARIABLE} to its path on every host"
        )
    return address


def _short_enough(address: str, who: str) -> str:
    path = address.removeprefix("ipc://")
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise TransportError(
            f"{who}: the socket path {path} has {len(os.fsencode(path))} bytes and the system allows "
            f"{zmq.IPC_PATH_MAX_LEN}; choose a shorter run directory"
        )
    return address


def _numeric(address: str) -> str:
    """The same address with its host name resolved, since ZeroMQ binds to numbers and interfaces only."""
    match = _TCP.fullmatch(address)
    if match is None or match[1] == "*" or match[1].startswith("["):
        return address
    return f"tcp://{network.gethostbyname(match[1])}:{match[2]}"


def _reason(error: OSError | zmq.ZMQError) -> str:
    if isinstance(error, network.gaierror):
        return "no such host; check its name"
    if error.errno == zmq.EADDRINUSE:
        return "the port is in use; stop what holds it or choose another"
    if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        return "this host has no such address; choose one of its own, or * for all"
    return f"{os.strerror(error.errno or 0)}; choose an address this process may use"
