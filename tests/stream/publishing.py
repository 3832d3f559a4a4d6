"""Helpers for tests of publishing: a sink on a free port, and plain sockets that receive its messages."""

from __future__ import annotations

import socket as network
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from stream.elements.keypointsink import KeypointSink
from stream.protocol import schema
from stream.protocol.schema import Published
from stream.transports.publisher import Publisher

# A tenth of a second is enough on an idle machine.
TIMEOUT_S = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until ``condition`` is true; fails after a timeout."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s: {what}"
        time.sleep(0.005)


@contextmanager
def open_sink(**properties: Any) -> Iterator[KeypointSink]:
    """A keypointsink on a free port, with a short heartbeat interval."""
    sink = KeypointSink(**{"bind": "tcp://127.0.0.1:*", "heartbeat_ms": 50, "linger_s": 0, **properties})
    with sink:
        yield sink


def count_snapshots(sink: KeypointSink) -> int:
    """The number of snapshots sent to new subscribers."""
    assert isinstance(sink._publisher, Publisher)
    return sink._publisher.statistics().snapshots


@contextmanager
def open_client(endpoint: str, *topics: str, **options: Any) -> Iterator[zmq.Socket[bytes]]:
    """A plain SUB socket, as a client in another language opens it."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvtimeo = round(TIMEOUT_S * 1000)
        for name, value in options.items():
            setattr(socket, name, value)
        socket.connect(endpoint)
        for topic in topics:
            socket.subscribe(topic)
        yield socket


def receive(socket: zmq.Socket[bytes]) -> tuple[str, Published]:
    """Receive the next message: its topic and content."""
    topic, payload = socket.recv_multipart()
    found = schema.decode(payload)
    assert found is not None
    return topic.decode(), found


def receive_kind(socket: zmq.Socket[bytes], kind: type[Any]) -> Any:
    """Receive the next message of this kind."""
    while True:
        _, found = receive(socket)
        if isinstance(found, kind):
            return found


def open_raw_client(endpoint: str) -> network.socket:
    """A TCP client after the handshake of a SUB socket of ZMTP 3.1, which sends what :func:`raw_message` makes."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    client = network.socket()
    client.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.settimeout(TIMEOUT_S)
    client.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY" + b"\x0bSocket-Type" + b"\0\0\0\x03SUB"
    client.sendall(b"\x04" + bytes([len(ready)]) + ready)
    client.recv(64)
    time.sleep(0.05)
    return client


def raw_message(content: bytes) -> bytes:
    """The bytes of a message of one part."""
    if len(content) < 256:
        return bytes([0, len(content)]) + content
    return b"\2" + len(content).to_bytes(8, "big") + content
