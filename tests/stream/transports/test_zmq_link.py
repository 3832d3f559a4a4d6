"""Links over ZeroMQ: what ``check_transport`` does not cover."""

from __future__ import annotations

import random
import signal
import socket as network
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from stream.errors import TransportError, WireError
from stream.messages import Key
from stream.transports import wire, zmq_link, zmq_socket
from stream.transports.base import Delivery, Inbox, Outbox
from stream.transports.curve import Keys

FUZZ_MESSAGES = 20_000


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/people.sock"


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"


def is_acknowledged(outbox: Outbox, key: Key) -> bool:
    return key in outbox.take_acknowledged(50)


def collect(outbox: Outbox, acknowledged: list[Key], count: int) -> bool:
    """Append the keys acknowledged since; True when there are ``count``."""
    acknowledged += outbox.take_acknowledged(20)
    return len(acknowledged) >= count


def receive(outbox: Outbox, inbox: Inbox, count: int) -> list[Delivery]:
    got: list[Delivery] = []

    def turn() -> bool:
        outbox.take_acknowledged(1)
        got.extend(inbox.receive(100, 1))
        return len(got) >= count

    until(turn)
    return got


def test_a_picture_arrives_unchanged(address: str, closing: Callable[[Any], Any]) -> None:
    inbox, outbox = closing(zmq_link.open_inbox(address, "pose")), closing(zmq_link.open_outbox(address, "track"))
    picture = random.Random(1).randbytes(1280 * 720 * 3)
    outbox.send(("hall", 0), [b"head", memoryview(picture)])
    [delivery] = receive(outbox, inbox, 1)
    assert bytes(delivery.buffers[1]) == picture


def test_several_ends_are_polled_at_once(tmp_path: Path, closing: Callable[[Any], Any]) -> None:
    addresses = [f"ipc://{tmp_path}/{name}.sock" for name in ("a", "b")]
    inboxes = [closing(zmq_link.open_inbox(one, "pose")) for one in addresses]
    outboxes = [closing(zmq_link.open_outbox(one, "track")) for one in addresses]
    outboxes[1].send(("hall", 0), [b"x"])
    got: list[Delivery] = []

    def turn() -> bool:
        zmq_link.wait(inboxes, outboxes, 100)
        for end in outboxes:
            end.take_acknowledged()
        got.extend(inboxes[1].receive())
        assert not inboxes[0].receive()
        return bool(got)

    until(turn)
    inboxes[1].acknowledge(("hall", 0))
    keys: list[Key] = []

    def acknowledged() -> bool:
        zmq_link.wait(inboxes, outboxes, 100)
        keys.extend(outboxes[1].take_acknowledged())
        return bool(keys)

    until(acknowledged)
    assert keys == [("hall", 0)]


def test_wait_returns_at_once_if_an_item_waits(address: str, closing: Callable[[Any], Any]) -> None:
    inbox, outbox = closing(zmq_link.open_inbox(address, "pose")), closing(zmq_link.open_outbox(address, "track"))
    assert not zmq_link.wait([], [outbox], 0)
    outbox.send(("hall", 0), [b"x"])
    outbox.send(("hall", 1), [b"x"])
    until(lambda: bool(outbox.take_acknowledged(1)) or inbox.receive(0, 1) != [] or inbox.statistics().waiting == 2)
    assert inbox.receive(1)
    assert zmq_link.wait([inbox], (), 60_000)


# -- hostile peers ----------------------------------------------------------------------------------------------------


def _open_raw(address: str, kind: int = zmq.DEALER) -> zmq.Socket[bytes]:
    socket = zmq_socket.open_socket(kind)
    socket.connect(address)
    return socket


def _hostile_parts(rng: random.Random) -> list[bytes]:
    if not rng.randrange(50):
        return [b"x"] * 500
    return [rng.randbytes(rng.choice([0, 1, 8, 60, 3000])) for _ in range(rng.randrange(1, 6))]


def test_valid_traffic_survives_a_flood_of_random_messages(address: str, closing: Callable[[Any], Any]) -> None:
    rng = random.Random(3)
    inbox, outbox = closing(zmq_link.open_inbox(address, "pose")), closing(zmq_link.open_outbox(address, "track"))
    raw_socket = _open_raw(address)
    got: list[Delivery] = []
    for number in range(FUZZ_MESSAGES):
        raw_socket.send_multipart(_hostile_parts(rng))
        if number % 100 == 0:
            outbox.send(("hall", number), [b"good"])
            outbox.take_acknowledged()
            got += inbox.receive(10)

    def turn() -> bool:
        outbox.take_acknowledged(1)
        got.extend(inbox.receive(10, 1))
        return inbox.statistics().malformed == FUZZ_MESSAGES and len(got) == FUZZ_MESSAGES // 100

    until(turn)
    zmq_socket.close_socket(raw_socket)
    assert [one.key for one in got] == [("hall", number) for number in range(0, FUZZ_MESSAGES, 100)]
    assert {bytes(one.buffers[0]) for one in got} == {b"good"}


def test_an_outbox_survives_a_receiver_that_sends_noise(address: str, closing: Callable[[Any], Any]) -> None:
    rng = random.Random(5)
    impostor = zmq_socket.open_socket(zmq.ROUTER)
    impostor.bind(address)
    outbox = closing(zmq_link.open_outbox(address, "track"))
    outbox.send(("hall", 0), [b"x"])
    assert impostor.poll(30_000)
    for _ in range(300):
        impostor.send_multipart([b"track", *_hostile_parts(rng)])
    until(lambda: outbox.take_acknowledged(1) == [] and outbox.statistics().malformed == 300)
    zmq_socket.close_socket(impostor)
    assert outbox.statistics().unacknowledged == 1


def test_an_invalid_message_is_carried_and_raises_when_unpacked(address: str, closing: Callable[[Any], Any]) -> None:
    inbox, outbox = closing(zmq_link.open_inbox(address, "pose")), closing(zmq_link.open_outbox(address, "track"))
    outbox.send(("hall", 0), [b"\xc1 no message"])
    [delivery] = receive(outbox, inbox, 1)
    with pytest.raises(WireError, match="a head cannot be decoded"):
        wire.unpack(delivery.buffers)


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n\r\n", bytes(4096), b"\xff" * 64 + b"\x7f" * 64])
def test_bytes_that_are_not_zeromq_are_ignored(raw: bytes, closing: Callable[[Any], Any]) -> None:
    inbox = closing(zmq_link.open_inbox("tcp://127.0.0.1:*", "pose"))
    where = inbox.pollable.getsockopt_string(zmq.LAST_ENDPOINT)
    host, port = where.removeprefix("tcp://").split(":")
    with network.create_connection((host, int(port))) as connection:
        connection.sendall(raw)
        outbox = closing(zmq_link.open_outbox(where, "track"))
        outbox.send(("hall", 0), [b"x"])
        assert receive(outbox, inbox, 1)


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_an_inbox_has_a_limited_number_of_connections(
    scheme: str, address: str, closing: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zmq_link, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(zmq_socket, "HANDSHAKE_MS", 60_000)  # not what ends them here
    inbox = closing(zmq_link.open_inbox(address if scheme == "ipc" else "tcp://127.0.0.1:*", "pose"))
    where = inbox.pollable.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0") if scheme == "tcp" else address
    count = _descriptors()
    strangers = [_connect_silently(where) for _ in range(50)]
    until(lambda: inbox.receive(1, 10) == [] and _descriptors() <= count + len(strangers) + 10)
    for stranger in strangers:
        stranger.close()
    outbox = closing(zmq_link.open_outbox(where, "track"))
    outbox.send(("hall", 0), [b"x"])
    assert receive(outbox, inbox, 1)


def _connect_silently(address: str) -> network.socket:
    if address.startswith("tcp://"):
        return network.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    connection = network.socket(network.AF_UNIX)
    connection.connect(address.removeprefix("ipc://"))
    return connection


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_link_beyond_loopback_requires_keys() -> None:
    with pytest.raises(TransportError) as caught:
        zmq_link.open_inbox("tcp://0.0.0.0:5555", "pose")
    assert str(caught.value) == (
        "link to pose: tcp://0.0.0.0:5555 is reachable from other hosts and there are no CURVE keys; "
        "make a key file with posestream keygen --line FILE and set POSESTREAM_CURVE to its path on every host"
    )
    with pytest.raises(TransportError, match=r"link from track: tcp://10\.1\.2\.3:5555 is reachable from other hosts"):
        zmq_link.open_outbox("tcp://10.1.2.3:5555", "track")


def test_senders_with_other_keys_or_none_are_refused(closing: Callable[[Any], Any]) -> None:
    keys = Keys.generate()
    inbox = closing(zmq_link.open_inbox("tcp://127.0.0.1:*", "pose", keys=keys))
    where = inbox.pollable.getsockopt_string(zmq.LAST_ENDPOINT)
    strangers = [
        closing(zmq_link.open_outbox(where, "other keys", keys=Keys.generate())),
        closing(zmq_link.open_outbox(where, "no keys")),
    ]
    friend = closing(zmq_link.open_outbox(where, "friend", keys=keys))
    for number, outbox in enumerate([*strangers, friend]):
        outbox.send((f"camera {number}", 0), [b"x"])
    got: list[Delivery] = []

    def turn() -> bool:
        for outbox in [*strangers, friend]:
            outbox.take_acknowledged(1)
        got.extend(inbox.receive(10, 1))
        return bool(got)

    until(turn)
    for _ in range(20):
        turn()
    assert [one.key for one in got] == [("camera 2", 0)]
    assert [outbox.statistics().waiting for outbox in strangers] == [1, 1]


# -- processes --------------------------------------------------------------------------------------------------------

RECEIVER = """
import sys
from stream.transports.zmq_link import open_inbox
inbox = open_inbox(sys.argv[1], "pose")
left = int(sys.argv[2])
while left:
    for delivery in inbox.receive(10, 1000):
        print(delivery.key[1], flush=True)
        inbox.acknowledge(delivery.key)
        left -= 1
inbox.close()
"""


def _receiver(address: str, items: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RECEIVER, address, str(items)], stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("no_leaks")
def test_the_last_acknowledgement_of_an_ending_process_arrives(address: str, closing: Callable[[Any], Any]) -> None:
    outbox = closing(zmq_link.open_outbox(address, "track"))
    for life in range(3):
        with _receiver(address, 1):
            outbox.send(("hall", life), [b"x"])
            until(partial(is_acknowledged, outbox, ("hall", life)))
    assert outbox.statistics().unacknowledged == 0


@pytest.mark.usefixtures("no_leaks")
def test_the_successor_of_a_killed_receiver_gets_all_open_items(address: str, closing: Callable[[Any], Any]) -> None:
    outbox = closing(zmq_link.open_outbox(address, "track"))
    acknowledged: list[Key] = []
    with _receiver(address, 10_000) as first:
        outbox.send(("hall", 0), [b"x"])
        until(lambda: collect(outbox, acknowledged, 1))
        first.send_signal(signal.SIGSTOP)
        for seq in range(1, 20):
            outbox.send(("hall", seq), [b"x"])
        first.kill()
    with _receiver(address, 20 - len(acknowledged)) as second:
        until(lambda: collect(outbox, acknowledged, 20))
        printed = second.communicate()[0].split()
    assert acknowledged == [("hall", seq) for seq in range(20)]
    assert printed == [str(seq) for seq in range(1, 20)]


def test_opening_and_closing_two_hundred_times_leaks_no_descriptor_and_no_context(address: str) -> None:
    inbox = zmq_link.open_inbox(address, "pose")
    count = _descriptors()
    for _ in range(200):
        zmq_link.open_outbox(address, "track").close()
    until(lambda: inbox.receive(1, 10) == [] and _descriptors() <= count + 3)
    inbox.close()
    assert zmq_socket._process._context is None


def _descriptors() -> int:
    return psutil.Process().num_fds()
