"""Links over ZeroMQ, ``ipc://`` within a host and ``tcp://`` between hosts: a ROUTER inbox, a DEALER outbox.

    inbox = open_inbox("ipc:///run/line/people.pose.sock", "pose")
    outbox = open_outbox("ipc:///run/line/people.pose.sock", "track")

To serve several ends at once, poll them with :func:`wait`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import zmq

from stream.transports.base import Leaky
from stream.transports.curve import Keys
from stream.transports.endpoint import HopInbox, HopOutbox
from stream.transports.reliable import Parts
from stream.transports.zmq_socket import (
    Socket,
    bind,
    close_socket,
    closing_on_error,
    connect,
    open_socket,
    receive_parts,
    send_parts,
)

_LINGER_MS = 500
"""How long a closed inbox may still send its last acknowledgements, usually those of the end of the stream."""


class Pollable(Protocol):
    """An end of a link or of the bus."""

    @property
    def pollable(self) -> Socket: ...

    @property
    def ready(self) -> bool: ...


def open_outbox(address: str, sender: str, *, keys: Keys | None = None) -> HopOutbox:
    """Open the sending end to the inbox at ``address``, which may start later.

    ``sender`` must be unique among the senders of that inbox, and the same after a restart, so that a restarted sender
    receives the acknowledgements of what it sent before. Raises :class:`stream.errors.TransportError`.
    """
    return HopOutbox(_Dealer(address, sender, keys), f"link from {sender} to {address}")


def open_inbox(
    address: str, receiver: str, *, leaky: Leaky = "no", max_items: int = 1, keys: Keys | None = None
) -> HopInbox:
    """Open the receiving end, bound to ``address``. Raises :class:`stream.errors.TransportError`."""
    carrier = _Router(address, receiver, keys)
    with closing_on_error(carrier.pollable):
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


class _Dealer:
    """Carries an outbox's messages."""

    def __init__(self, address: str, sender: str, keys: Keys | None) -> None:
        self.pollable: Socket = open_socket(zmq.DEALER)
        with closing_on_error(self.pollable):
            self.pollable.setsockopt(zmq.ROUTING_ID, sender.encode()[:255])
            connect(self.pollable, address, f"link from {sender}", keys)

    def write(self, parts: Parts) -> bool:
        try:
            send_parts(self.pollable, parts)
        except zmq.Again:
            return False
        return True

    def read(self) -> Parts | None:
        return [part.buffer for part in receive_parts(self.pollable)] or None

    def wait(self, timeout_ms: int) -> None:
        zmq.zmq_poll([(self.pollable, zmq.POLLIN)], timeout_ms)

    def close(self) -> None:
        close_socket(self.pollable)


class _Router:
    """Carries an inbox's messages."""

    def __init__(self, address: str, receiver: str, keys: Keys | None) -> None:
        self.pollable: Socket = open_socket(zmq.ROUTER, linger_ms=_LINGER_MS)
        with closing_on_error(self.pollable):
            self.pollable.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a restarted sender replaces its old connection
            self.address = bind(self.pollable, address, f"link to {receiver}", keys)

    def write(self, sender: bytes, parts: Parts) -> None:
        try:
            send_parts(self.pollable, [sender, *parts])
        except zmq.ZMQError:
            return  # lost: the sender detects it by the number of acknowledgements in the next hello

    def read(self) -> tuple[bytes, Parts] | None:
        parts = receive_parts(self.pollable)
        return (parts[0].bytes, [part.buffer for part in parts[1:]]) if parts else None

    def wait(self, timeout_ms: int) -> None:
        zmq.zmq_poll([(self.pollable, zmq.POLLIN)], timeout_ms)

    def close(self) -> None:
        close_socket(self.pollable)
