"""Whatever connects survives what else listens for a while on its peer's address."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from stream.transports.bus_sockets import BusPublisher, BusReceiver, BusSender, BusSubscriber
from stream.transports.zmq_link import open_inbox, open_outbox
from tests.stream.publishing import wait_until
from tests.stream.transports.impostors import CURVE_GREETING, NULL_GREETING, impostor

REPLIES = {
    "nothing": b"",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(200),
    "garbage": NULL_GREETING + b"\x07garbage" * 20,
    "another mechanism": CURVE_GREETING,
}


@pytest.fixture(params=REPLIES)
def reply(request: pytest.FixtureRequest) -> bytes:
    return REPLIES[request.param]


def test_an_outbox_delivers_its_items_and_says_what_was_there(
    reply: bytes, closing: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with impostor(reply) as port:
        address = f"tcp://127.0.0.1:{port}"
        outbox = closing(open_outbox(address, "track"))
        outbox.send(("hall", 0), [b"x"])
        wait_until(lambda: outbox.take_acknowledged(10) or caplog.messages, "it says so")
    inbox = closing(open_inbox(address, "pose"))
    wait_until(lambda: outbox.take_acknowledged(1) or inbox.receive(1, 1), "the item arrives")
    inbox.acknowledge(("hall", 0))
    wait_until(lambda: outbox.take_acknowledged(1) == [("hall", 0)], "it is acknowledged")
    assert [text[:60] for text in caplog.messages] == [f"link from track: what listens on {address} is no"[:60]]


def test_the_bus_is_heard_again(reply: bytes, closing: Callable[[Any], Any]) -> None:
    with impostor(reply) as port, impostor(reply) as other_port:
        address, other = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{other_port}"
        sender, subscriber = closing(BusSender(address)), closing(BusSubscriber(other))
        for _ in range(10):
            sender.send(b"lost")
            subscriber.receive(timeout_ms=20)
    receiver, publisher = closing(BusReceiver(address)), closing(BusPublisher(other))
    wait_until(lambda: sender.send(b"news") and receiver.receive(timeout_ms=10), "the sender is heard")
    wait_until(lambda: publisher.publish(b"news") or subscriber.receive(timeout_ms=10), "the publisher is heard")
