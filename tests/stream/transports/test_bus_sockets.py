"""The bus: many to one, one to many, and nobody waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from stream.errors import TransportError
from stream.transports import zmq_socket
from stream.transports.bus_sockets import BusPublisher, BusReceiver, BusSender, BusSubscriber
from stream.transports.zmq_link import wait


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/bus.sock"


@pytest.fixture
def opened() -> Iterator[Callable[[Any], Any]]:
    with ExitStack() as stack:

        def keep(end: Any) -> Any:
            stack.callback(end.close)
            return end

        yield keep


def heard(end: BusReceiver | BusSubscriber, count: int, again: Callable[[], object] = lambda: None) -> list[bytes]:
    deadline = time.monotonic() + 30
    notices: list[bytes] = []
    while len(notices) < count:
        assert time.monotonic() < deadline, notices
        again()
        notices += end.receive(timeout_ms=20)
    return notices


def test_many_report_to_one_who_comes_late(address: str, opened: Callable[[Any], Any]) -> None:
    senders = [opened(BusSender(address)) for _ in range(3)]
    for number, sender in enumerate(senders):
        assert sender.send(b"%d" % number)
    receiver = opened(BusReceiver(address))
    assert sorted(heard(receiver, 3)) == [b"0", b"1", b"2"]
    assert receiver.receive() == []


def test_last_words_are_heard(address: str, opened: Callable[[Any], Any]) -> None:
    receiver = opened(BusReceiver(address))
    sender = BusSender(address)
    sender.send(b"no camera")
    sender.close()
    sender.close()
    assert heard(receiver, 1) == [b"no camera"]


def test_a_sender_whom_nobody_hears_never_waits_and_says_what_is_lost(
    address: str, opened: Callable[[Any], Any]
) -> None:
    sender = opened(BusSender(address))
    kept = [sender.send(b"x") for _ in range(3000)]
    assert kept.count(True) == 1000
    assert not kept[-1]


def test_one_tells_many(address: str, opened: Callable[[Any], Any]) -> None:
    publisher = opened(BusPublisher(address))
    publisher.publish(b"nobody hears this")
    subscribers = [opened(BusSubscriber(address)) for _ in range(3)]
    for subscriber in subscribers:
        assert heard(subscriber, 1, lambda: publisher.publish(b"news"))[0] == b"news"


def test_what_cannot_be_a_notice_is_counted_and_dropped(address: str, opened: Callable[[Any], Any]) -> None:
    receiver = opened(BusReceiver(address))
    stranger = zmq_socket.open_socket(zmq.PUSH)
    stranger.connect(address)
    stranger.send_multipart([b"two", b"parts"])
    stranger.send(bytes((1 << 20) + 1))
    stranger.send(b"one")
    assert heard(receiver, 1) == [b"one"]
    zmq_socket.close_socket(stranger)
    assert receiver.malformed == 2


def test_the_bus_can_be_watched_with_links(address: str, opened: Callable[[Any], Any]) -> None:
    receiver, sender = opened(BusReceiver(address)), opened(BusSender(address))
    assert not wait([receiver], timeout_ms=0)
    sender.send(b"x")
    assert wait([receiver], timeout_ms=30_000)


@pytest.mark.parametrize("kind", [BusReceiver, BusPublisher, BusSender, BusSubscriber])
def test_a_bus_that_leaves_the_host_wants_keys(kind: type) -> None:
    with pytest.raises(TransportError, match=r"the bus: tcp://0.0.0.0:5555 leaves this host"):
        kind("tcp://0.0.0.0:5555")
    assert zmq_socket._process._context is None
