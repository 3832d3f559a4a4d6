"""What tests of publishing share: a sink on a free port, and plain sockets that look at what it sends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from stream.elements.keypointsink import KeypointSink
from stream.protocol import schema
from stream.protocol.schema import Published

# Long enough for any machine that is alive; a healthy one needs a tenth of a second.
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until it holds; fails after a generous while."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in {PATIENCE_S:g} s it never happened that {what}"
        time.sleep(0.005)


@contextmanager
def opened(**properties: Any) -> Iterator[KeypointSink]:
    """A keypointsink on a free port, with a quick heart."""
    sink = KeypointSink(**{"bind": "tcp://127.0.0.1:*", "heartbeat_ms": 50, **properties})
    with sink:
        yield sink


def greeted(sink: KeypointSink) -> int:
    """How many newcomers were answered so far."""
    assert sink._publisher is not None
    return sink._publisher.statistics().snapshots


@contextmanager
def listening(endpoint: str, *topics: str, **options: Any) -> Iterator[zmq.Socket[bytes]]:
    """A plain SUB socket, as a client in another language has it."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvtimeo = round(PATIENCE_S * 1000)
        for name, value in options.items():
            setattr(socket, name, value)
        socket.connect(endpoint)
        for topic in topics:
            socket.subscribe(topic)
        yield socket


def receive(socket: zmq.Socket[bytes]) -> tuple[str, Published]:
    """The next message: its topic and what it says."""
    topic, payload = socket.recv_multipart()
    found = schema.decode(payload)
    assert found is not None
    return topic.decode(), found


def receive_kind(socket: zmq.Socket[bytes], kind: type[Any]) -> Any:
    """The next message of this kind."""
    while True:
        _, found = receive(socket)
        if isinstance(found, kind):
            return found
