"""Links within one process."""

from __future__ import annotations

import threading

import pytest

from stream.errors import TransportError
from stream.messages import Key
from stream.transports.in_process import Exchange


def test_an_address_has_one_receiver_at_a_time() -> None:
    exchange = Exchange()
    first = exchange.open_inbox("people")
    with pytest.raises(TransportError, match="people already has a receiver; close it or choose another address"):
        exchange.open_inbox("people")
    first.close()
    second = exchange.open_inbox("people")
    first.close()
    with pytest.raises(TransportError):
        exchange.open_inbox("people")
    second.close()


def test_two_threads_may_share_a_link() -> None:
    exchange = Exchange()
    inbox, outbox = exchange.open_inbox("people"), exchange.open_outbox("people", "track")
    got: list[Key] = []

    def receive() -> None:
        while len(got) < 500:
            for delivery in inbox.receive(10, 1000):
                got.append(delivery.key)
                inbox.acknowledge(delivery.key)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    acknowledged: list[Key] = []
    for seq in range(500):
        outbox.send(("hall", seq), [b"x"])
    while len(acknowledged) < 500:
        acknowledged += outbox.take_acknowledged(1000)
    receiver.join(30)
    assert got == acknowledged == [("hall", seq) for seq in range(500)]


def test_buffers_are_not_copied() -> None:
    exchange = Exchange()
    inbox, outbox = exchange.open_inbox("people"), exchange.open_outbox("people", "track")
    pixels = memoryview(bytes(100))
    outbox.send(("hall", 0), [pixels])
    for _ in range(3):
        outbox.take_acknowledged()
        deliveries = inbox.receive()
        if deliveries:
            break
    assert deliveries[0].buffers[0] is pixels
