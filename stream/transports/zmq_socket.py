"""ZeroMQ sockets with bounded queues, a quick close, and CURVE encryption beyond this host.

There is one context per process, which ends with its last socket: a context for every restart would leak 16 kB each.
High-water marks are set before bind and connect, since later they have no effect.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket as network
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import zmq
import zmq.auth.thread

from stream.errors import TransportError
from stream.transports.addresses import is_loopback_host
from stream.transports.base import MAX_BUFFER_BYTES, MAX_BUFFERS
from stream.transports.curve import VARIABLE, Keys
from stream.transports.ipc_listener import IpcListener
from stream.transports.run_token import RunToken

MAX_PARTS = MAX_BUFFERS + 2
"""Maximum number of parts of a message (sender, head, buffers). Of a longer message one more part is kept, which marks
it as too long, and the rest is discarded as it arrives."""

_DOMAIN = b"posestream"
_BIND_TIMEOUT_S = 1.0
"""How long to retry a port in use: its previous owner may still be closing it."""
_TCP = re.compile(r"tcp://(\*|\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):(\d+|\*)", re.ASCII)

_LINE_KEY_REMEDY = f"make a key file with posestream keygen --line FILE and set {VARIABLE} to its path on every host"

HANDSHAKE_MS = 5000
"""How long a peer may take to introduce itself."""

Socket = zmq.Socket[bytes]

_Bound = TypeVar("_Bound")

Credentials = Keys | RunToken
"""What both ends of a connection must have: CURVE keys for ``tcp://``, or the token of their run on this host."""

# Not zmq.auth's own logger, since it writes passwords at DEBUG.
_log = logging.Logger("posestream.zap", logging.WARNING)


class _Process:
    """The context of this process, and its authenticator once a socket has keys."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._context: zmq.Context[Socket] | None = None
        self._authenticator: zmq.auth.thread.ThreadAuthenticator | None = None
        self._allowed: set[bytes] = set()
        self._passwords: dict[str, str] = {}
        self._users = 0
        self._pid = os.getpid()

    def acquire(self) -> zmq.Context[Socket]:
        with self._lock:
            if self._pid != os.getpid():  # a context must not be used across fork
                self._reset()
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
        if self._authenticator is not None:
            self._authenticator.stop()
        context.term()  # waits for closed sockets to send, at most their linger
        self._reset()

    def allow(self, public: bytes) -> None:
        """Accept clients that hold the secret key of this public key; others are refused."""
        with self._lock:
            self._allowed.add(public)
            self._start_authenticator()

    def allow_password(self, address: str, password: bytes) -> None:
        """Accept clients that send this password for this address; others are refused."""
        with self._lock:
            self._passwords[address] = password.decode()
            self._start_authenticator()

    def _start_authenticator(self) -> None:
        if self._authenticator is None and self._context is not None:
            self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context, log=_log)
            self._authenticator.start()
            self._authenticator.configure_curve_callback(domain=_DOMAIN.decode(), credentials_provider=self)
            self._authenticator.configure_plain(domain=_DOMAIN.decode(), passwords=self._passwords)

    def callback(self, _domain: str, key: bytes) -> bool:
        """Called by the authenticator, in its thread, for every connecting client."""
        return key in self._allowed


_process = _Process()


def open_socket(kind: int, *, linger_ms: int = 0, high_water: int = 1000) -> Socket:
    """Open a bounded socket, which sends for up to ``linger_ms`` after :func:`close_socket`."""
    socket = _process.acquire().socket(kind)
    socket.linger = linger_ms
    socket.set_hwm(high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BUFFER_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    return socket


def close_socket(socket: Socket) -> None:
    """Close a socket, and the context with the last one; idempotent."""
    if not socket.closed:
        socket.close()
        _process.release()


@contextmanager
def closing_on_error(socket: Socket) -> Iterator[None]:
    """Close ``socket`` if the block raises."""
    try:
        yield
    except BaseException:
        close_socket(socket)
        raise


def listen(socket: Socket, address: str, owner: str, keys: Credentials | None = None) -> IpcListener | None:
    """Bind to ``address``; for an ``ipc://`` path, return what binds it anew when the path is removed.

    Raises :class:`TransportError` for an invalid address, a port in use, an unknown host, or one beyond loopback
    without CURVE keys. ``owner`` names the socket in the message.
    """
    _require(socket, address, owner, keys)
    return bind_address(socket, address, owner, _BIND_TIMEOUT_S, is_private=True)[1]


def _require(socket: Socket, address: str, owner: str, keys: Credentials | None) -> None:
    """Check the address, and let only those connect to it that have the same credentials."""
    check_address(address, owner, has_keys=isinstance(keys, Keys))
    if isinstance(keys, RunToken):
        _process.allow_password(address, keys.password(address))
        socket.plain_server = True
        socket.zap_domain = _DOMAIN
    elif keys is not None and address.startswith("tcp://"):
        _process.allow(keys.public)
        socket.curve_server = True
        socket.curve_secretkey = keys.secret
        socket.zap_domain = _DOMAIN


def bind_address(
    socket: Socket, address: str, owner: str, timeout_s: float, *, is_private: bool
) -> tuple[str, IpcListener | None]:
    """Bind to a checked address, and retry up to ``timeout_s`` while it is in use.

    Returns the endpoint, with the port that was chosen, and for an ``ipc://`` path what binds it anew; ``is_private``
    where this user alone may connect to the path.
    """
    if address.startswith("ipc://") and not address.startswith("ipc://@"):  # the latter has no file
        listener = partial(IpcListener, socket, address, owner, is_private=is_private)
        return address, _retry(listener, address, owner, timeout_s)

    def attempt() -> str:
        socket.bind(_resolve_host(address))
        return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    socket.ipv6 = "[" in address
    return _retry(attempt, address, owner, timeout_s), None


def _retry(attempt: Callable[[], _Bound], address: str, owner: str, timeout_s: float) -> _Bound:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return attempt()
        except (zmq.ZMQError, OSError) as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                raise TransportError(f"{owner} cannot listen on {address}: {_describe_error(error)}") from None
        time.sleep(0.02)


def connect(socket: Socket, address: str, owner: str, keys: Credentials | None = None) -> None:
    """Connect to ``address``, which may be bound later. Raises :class:`TransportError`."""
    check_address(address, owner, has_keys=isinstance(keys, Keys))
    if isinstance(keys, RunToken):
        socket.plain_username, socket.plain_password = address.encode()[:255], keys.password(address)
    elif keys is not None and address.startswith("tcp://"):
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.curve_serverkey = keys.public
    socket.ipv6 = "[" in address
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise TransportError(f"{owner} cannot connect to {address}: {_describe_error(error)}") from None


def receive_parts(socket: Socket) -> list[zmq.Frame]:
    """Receive one waiting message, at most :data:`MAX_PARTS` + 1 parts of it; an empty list if none waits."""
    if not int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:  # cheaper than an exception
        return []
    parts = [socket.recv(zmq.DONTWAIT, copy=False)]
    last = parts[0]
    while last.more:
        last = socket.recv(zmq.DONTWAIT, copy=False)
        if len(parts) <= MAX_PARTS:
            parts.append(last)
    return parts


def send_parts(socket: Socket, parts: Sequence[bytes | memoryview]) -> None:
    """Send one message without waiting; large parts are not copied. Raises ``zmq.Again`` if the buffer is full."""
    for part in parts[:-1]:
        socket.send(part, zmq.DONTWAIT | zmq.SNDMORE, copy=False)
    socket.send(parts[-1], zmq.DONTWAIT, copy=False)


def is_loopback(address: str) -> bool:
    """True for ``ipc://``, ``inproc://`` and for tcp with a loopback host."""
    match = _TCP.fullmatch(address)
    if match is None:
        return not address.startswith("tcp://")
    return is_loopback_host(match[1].strip("[]"))


def check_address(address: str, owner: str, *, has_keys: bool, remedy: str = _LINE_KEY_REMEDY) -> None:
    """Raise :class:`TransportError` for an invalid address, and for one beyond loopback without keys.

    ``remedy`` says in the message how to provide keys.
    """
    if address.startswith("inproc://"):
        return
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        _check_path(address.removeprefix("ipc://"), owner)
        return
    match = _TCP.fullmatch(address)
    if match is None:
        raise TransportError(f"{owner}: {address!r} is not an address; write ipc://PATH or tcp://HOST:PORT")
    if match[2] != "*" and not 0 < int(match[2]) <= 65535:
        raise TransportError(f"{owner}: {address!r} has no port from 1 to 65535; write tcp://HOST:PORT")
    if not has_keys and not is_loopback(address):
        raise TransportError(f"{owner}: {address} is reachable from other hosts and there are no CURVE keys; {remedy}")


def _check_path(path: str, owner: str) -> None:
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise TransportError(
            f"{owner}: the socket path {path} has {len(os.fsencode(path))} bytes and the system allows "
            f"{zmq.IPC_PATH_MAX_LEN}; choose a shorter path"
        )


def _resolve_host(address: str) -> str:
    """Resolve the host name of an address, since ZeroMQ binds to numbers and interfaces only."""
    match = _TCP.fullmatch(address)
    if match is None or match[1] == "*" or match[1].startswith("["):
        return address
    return f"tcp://{network.gethostbyname(match[1])}:{match[2]}"


def _describe_error(error: OSError | zmq.ZMQError) -> str:
    if isinstance(error, network.gaierror):
        return "no such host; check its name"
    if error.errno == zmq.EADDRINUSE:
        return "the port is in use; stop the program that uses it or choose another port"
    if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
        return "this host has no such address; choose one of its own, or * for all"
    return f"{os.strerror(error.errno or 0)}; choose an address this process may use"
