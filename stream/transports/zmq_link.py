"""Links over ZeroMQ, ``ipc://`` within a host and ``tcp://`` between hosts: a ROUTER inbox, a DEALER outbox.

    inbox = open_inbox("ipc:///run/line/people.pose.sock", "pose")
    outbox = open_outbox("ipc:///run/line/people.pose.sock", "track")

To serve several ends at once, poll them with :func:`wait`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import zmq

from stream.transports.base import Leaky
from stream.transports.connection import Connection
from stream.transports.endpoint import HopInbox, HopOutbox
from stream.transports.hop_notes import Parts
from stream.transports.ipc_listener import IpcListener
from stream.transports.peers import Peers, disconnect
from stream.transports.socket_monitor import SocketMonitor
from stream.transports.zmq_socket import (
    Credentials,
    Socket,
    close_socket,
    closing_on_error,
    listen,
    open_socket,
    receive_parts,
    send_parts,
)

_logger = logging.getLogger(__name__)

_CONNECTIONS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL

MAX_CONNECTIONS = 256
"""Of an inbox, those of strangers included, whose handshakes end within 5 s: more could take all descriptors."""

_LINGER_MS = 500
"""How long a closed inbox may still send its last acknowledgements, usually those of the end of the stream."""


class Pollable(Protocol):
    """An end of a link or of the bus."""

    @property
    def pollable(self) -> Socket: ...

    @property
    def ready(self) -> bool: ...


def open_outbox(address: str, sender: str, *, keys: Credentials | None = None) -> HopOutbox:
    """Open the sending end to the inbox at ``address``, which may start later.

    ``sender`` must be unique among the senders of that inbox, and the same after a restart, so that a restarted sender
    receives the acknowledgements of what it sent before. Raises :class:`stream.errors.TransportError`.
    """
    return HopOutbox(_Dealer(address, sender, keys), f"link from {sender} to {address}")


def open_inbox(
    address: str, receiver: str, *, leaky: Leaky = "no", max_items: int = 1, keys: Credentials | None = None
) -> HopInbox:
    """Open the receiving end, bound to ``address``. Raises :class:`stream.errors.TransportError`."""
    carrier = _Router(address, receiver, keys)
    with _closing_on_error(carrier):
        return HopInbox(carrier, leaky, max_items)


def wait(inboxes: Sequence[Pollable], outboxes: Sequence[Pollable] = (), timeout_ms: int = 0) -> bool:
    """Wait until any of these has something to read, at most ``timeout_ms``; return False if none has.

    It may be a message of the protocol, so ``receive`` and ``take_acknowledged`` may still return nothing. While an
    outbox has unacknowledged items, wait at most :data:`stream.transports.endpoint.PING_MS`, since an outbox pings only
    when it is called. Sockets of the bus are accepted too.
    """
    ends = [*inboxes, *outboxes]
    if any(end.ready for end in ends):
        return True
    return bool(zmq.zmq_poll([(end.pollable, zmq.POLLIN) for end in ends], timeout_ms))


@contextlib.contextmanager
def _closing_on_error(carrier: _Router) -> Iterator[None]:
    try:
        yield
    except BaseException:
        carrier.close()
        raise


class _Dealer:
    """Carries an outbox's messages."""

    def __init__(self, address: str, sender: str, keys: Credentials | None) -> None:
        self._address, self._link = address, f"link from {sender}"
        self._has_warned = False
        self.pollable: Socket = open_socket(zmq.DEALER)
        with closing_on_error(self.pollable):
            self.pollable.setsockopt(zmq.ROUTING_ID, sender.encode()[:255])
            self._connection = Connection(self.pollable, address, self._link, keys)

    def write(self, parts: Parts) -> bool:
        try:
            send_parts(self.pollable, parts)
        except zmq.Again:
            return False
        return True

    def read(self) -> Parts | None:
        parts = receive_parts(self.pollable)
        if not parts:
            self._restore()
        return [part.buffer for part in parts] or None

    def _restore(self) -> None:
        if self._connection.restore() and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "%s: what listens on %s is no part of this run; give both the same --run-dir, or the same key in "
                "POSESTREAM_CURVE, or stop the other program",
                self._link,
                self._address,
            )

    def wait(self, timeout_ms: int) -> None:
        zmq.zmq_poll([(self.pollable, zmq.POLLIN)], timeout_ms)

    def close(self) -> None:
        self._connection.close()
        close_socket(self.pollable)


class _Router:
    """Carries an inbox's messages."""

    def __init__(self, address: str, receiver: str, keys: Credentials | None) -> None:
        self.address, self._link = address, f"link to {receiver}"
        self.refused = 0
        self.pollable: Socket = open_socket(zmq.ROUTER, linger_ms=_LINGER_MS)
        self._events = SocketMonitor(self.pollable, _FAILURES | _CONNECTIONS)
        self._peers = Peers(MAX_CONNECTIONS, self._disconnect, self._link)
        self._listener: IpcListener | None = None
        with _closing_on_error(self):
            self.pollable.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted sender replaces its old connection
            self._listener = listen(self.pollable, address, self._link, keys)

    def write(self, sender: bytes, parts: Parts) -> None:
        try:
            send_parts(self.pollable, [sender, *parts])
        except zmq.ZMQError:
            return  # lost: the sender detects it by the number of acknowledgements in the next hello

    def read(self) -> tuple[bytes, Parts] | None:
        parts = receive_parts(self.pollable)
        if parts:
            return parts[0].bytes, [part.buffer for part in parts[1:]]
        self._look_after_socket()
        return None

    def _look_after_socket(self) -> None:
        if self._listener is not None:
            self._listener.restore()
        refused = 0
        for kind, descriptor in self._events.read():
            if kind == zmq.EVENT_ACCEPTED:
                self._peers.connect(descriptor)
            elif kind == zmq.EVENT_DISCONNECTED:
                self._peers.disconnected(descriptor)
            else:
                refused += 1
        if refused and not self.refused:
            _logger.warning(
                "%s: a program that is no part of this run has tried to connect to %s and was refused; refusals are "
                "counted",
                self._link,
                self.address,
            )
        self.refused += refused

    def _disconnect(self, descriptor: int) -> None:
        is_tcp = self.address.startswith("tcp://")
        disconnect(descriptor, self.pollable.getsockopt_string(zmq.LAST_ENDPOINT) if is_tcp else self.address)

    def wait(self, timeout_ms: int) -> None:
        zmq.zmq_poll([(self.pollable, zmq.POLLIN)], timeout_ms)

    def close(self) -> None:
        if not self.pollable.closed and self._listener is not None:
            self._listener.close()
        self._events.close()
        close_socket(self.pollable)
