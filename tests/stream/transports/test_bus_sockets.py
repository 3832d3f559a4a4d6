"""The bus: many to one, one to many, without waiting."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
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


def receive(end: BusReceiver | BusSubscriber, count: int, again: Callable[[], object] = lambda: None) -> list[bytes]:
    deadline = time.monotonic() + 30
    notices: list[bytes] = []
    while len(notices) < count:
        assert time.monotonic() < deadline, notices
        again()
        notices += end.receive(timeout_ms=20)
    return notices


def test_many_senders_reach_a_receiver_that_starts_late(address: str, closing: Callable[[Any], Any]) -> None:
    senders = [closing(BusSender(address)) for _ in range(3)]
    for number, sender in enumerate(senders):
        assert sender.send(b"%d" % number)
    receiver = closing(BusReceiver(address))
    assert sorted(receive(receiver, 3)) == [b"0", b"1", b"2"]
    assert receiver.receive() == []


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.unlink() or path.touch()], ids=["removed", "replaced"]
)
def test_a_socket_whose_file_was_removed_is_found_by_who_connects_later(
    spoil: Callable[[Path], object], address: str, closing: Callable[[Any], Any]
) -> None:
    receiver, before = closing(BusReceiver(address)), closing(BusSender(address))
    before.send(b"0")
    assert receive(receiver, 1) == [b"0"]
    spoil(Path(address.removeprefix("ipc://")))
    later = closing(BusSender(address))
    later.send(b"1")
    before.send(b"2")
    assert sorted(receive(receiver, 2, receiver.restore)) == [b"1", b"2"]


def test_a_socket_whose_folder_was_removed_serves_who_is_connected(
    tmp_path: Path, closing: Callable[[Any], Any]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    address = f"ipc://{folder}/bus.sock"
    receiver, sender = closing(BusReceiver(address)), closing(BusSender(address))
    sender.send(b"0")
    assert receive(receiver, 1) == [b"0"]
    shutil.rmtree(folder)
    receiver.restore()
    sender.send(b"1")
    assert receive(receiver, 1) == [b"1"]


def test_the_last_notice_of_a_closed_sender_is_received(address: str, closing: Callable[[Any], Any]) -> None:
    receiver = closing(BusReceiver(address))
    sender = BusSender(address)
    sender.send(b"no camera")
    sender.close()
    sender.close()
    assert receive(receiver, 1) == [b"no camera"]


def test_a_sender_without_a_receiver_never_waits_and_reports_losses(
    address: str, closing: Callable[[Any], Any]
) -> None:
    sender = closing(BusSender(address))
    sent = [sender.send(b"x") for _ in range(3000)]
    assert sent.count(True) == 1000
    assert not sent[-1]


def test_one_publisher_reaches_many_subscribers(address: str, closing: Callable[[Any], Any]) -> None:
    publisher = closing(BusPublisher(address))
    publisher.publish(b"lost")
    subscribers = [closing(BusSubscriber(address)) for _ in range(3)]
    for subscriber in subscribers:
        assert receive(subscriber, 1, lambda: publisher.publish(b"news"))[0] == b"news"


def test_messages_that_are_not_notices_are_counted_and_dropped(address: str, closing: Callable[[Any], Any]) -> None:
    receiver = closing(BusReceiver(address))
    other = zmq_socket.open_socket(zmq.PUSH)
    other.connect(address)
    other.send_multipart([b"two", b"parts"])
    other.send(bytes((1 << 20) + 1))
    other.send(b"one")
    assert receive(receiver, 1) == [b"one"]
    zmq_socket.close_socket(other)
    assert receiver.malformed == 2


def test_the_bus_can_be_polled_with_links(address: str, closing: Callable[[Any], Any]) -> None:
    receiver, sender = closing(BusReceiver(address)), closing(BusSender(address))
    assert not wait([receiver], timeout_ms=0)
    sender.send(b"x")
    assert wait([receiver], timeout_ms=30_000)


@pytest.mark.parametrize("kind", [BusReceiver, BusPublisher, BusSender, BusSubscriber])
def test_a_bus_beyond_loopback_requires_keys(kind: type) -> None:
    with pytest.raises(TransportError, match=r"the bus: tcp://0.0.0.0:5555 is reachable from other hosts"):
        kind("tcp://0.0.0.0:5555")
    assert zmq_socket._process._context is None
