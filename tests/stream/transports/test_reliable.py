"""The protocol of a hop, without sockets: lost messages, restarted peers and malformed notes."""

from __future__ import annotations

import random
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports import reliable
from stream.transports.hop_notes import Data, Done, Hello, Parts, Ping
from stream.transports.reliable import HopReceiver, HopSender

SENDER = b"track"


class Line:
    """A sender, a receiver and the messages between them, which may be lost; either side may be restarted."""

    def __init__(self) -> None:
        self.sender = HopSender("link from track to pose")
        self.receiver = HopReceiver(now_ns=lambda: 7)
        self.there: deque[Parts] = deque()
        self.back: deque[Parts] = deque()
        self.next_seq = 0
        self.open: deque[Key] = deque()
        self.given: list[list[Key]] = [[]]
        self.done_with: set[Key] = set()
        self.acknowledged: set[Key] = set()

    def send(self) -> None:
        self.sender.add(("hall", self.next_seq), [b"x"])
        self.next_seq += 1

    def write(self) -> None:
        while (parts := self.sender.next_data()) is not None:
            self.there.append(parts)
            self.sender.mark_written()

    def ping(self) -> None:
        self.there.append(self.sender.ping())

    def carry(self) -> None:
        if self.there:
            self.receiver.handle(SENDER, self.there.popleft())
            self.back.extend(parts for _, parts in self.receiver.take_replies())

    def carry_back(self) -> None:
        if self.back:
            self.sender.handle(self.back.popleft())
            self.acknowledged.update(self.sender.take_acknowledged())
            assert self.acknowledged <= self.done_with, "an item is acknowledged that was not released"

    def take(self) -> None:
        for delivery in self.receiver.take(1):
            self.given[-1].append(delivery.key)
            self.open.append(delivery.key)

    def acknowledge(self) -> None:
        if self.open:
            self.done_with.add(self.open[0])
            self.receiver.acknowledge(self.open.popleft())
            self.back.extend(parts for _, parts in self.receiver.take_replies())

    def exchange(self) -> None:
        """Exchange a few messages, as between two failures."""
        for step in (self.ping, self.write, self.carry, self.carry_back) * 2:
            step()

    def cut(self) -> None:
        """Break the connection: messages on their way are lost."""
        self.there.clear()
        self.back.clear()

    def restart_receiver(self) -> None:
        self.receiver = HopReceiver(now_ns=lambda: 7)
        self.open.clear()
        self.given.append([])
        self.cut()

    def restart_sender(self) -> None:
        """Restart the sender, which sends all unacknowledged items again."""
        self.sender = HopSender("link from track to pose")
        for seq in range(self.next_seq):
            if ("hall", seq) not in self.acknowledged:
                self.sender.add(("hall", seq), [b"x"])
        self.cut()

    def settle(self) -> None:
        """Deliver and acknowledge everything, with a ping now and then."""
        for _ in range(4):
            self.ping()
            for _ in range(300):
                for step in (self.write, self.carry, self.take, self.acknowledge, self.carry_back):
                    step()


NORMAL = ("exchange", "send", "send", "write", "ping", "carry", "carry_back", "take", "acknowledge")
FAILURES = ("cut", "restart_receiver", "restart_sender")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(NORMAL * 2 + FAILURES), max_size=80))
def test_every_item_is_delivered_once_and_acknowledged_across_losses_and_restarts(steps: list[str]) -> None:
    line = Line()
    for step in ["send", *steps]:
        getattr(line, step)()
    line.settle()
    assert line.acknowledged == {("hall", seq) for seq in range(line.next_seq)}
    for life in line.given:
        assert life == sorted(set(life))
    assert line.sender.statistics().unacknowledged == 0


def _connect() -> tuple[HopSender, HopReceiver]:
    line = Line()
    line.ping()
    line.carry()
    line.carry_back()
    return line.sender, line.receiver


def test_a_gap_is_detected_at_the_next_item() -> None:
    sender, receiver = _connect()
    for seq in range(3):
        sender.add(("hall", seq), [])
    first, _lost, third = (_write(sender) for _ in range(3))
    receiver.handle(SENDER, first)
    receiver.handle(SENDER, third)
    assert [one.key for one in receiver.take(9)] == [("hall", 0)]
    [(_, hello)] = receiver.take_replies()
    sender.handle(hello)
    for _ in range(3):
        receiver.handle(SENDER, _write(sender))
    assert [one.key for one in receiver.take(9)] == [("hall", 1), ("hall", 2)]


def test_a_late_hello_of_a_former_session_starts_no_new_session() -> None:
    sender, receiver = _connect()
    for seq in range(3):
        sender.add(("hall", seq), [])
    _write(sender)
    for parts in [_write(sender), _write(sender)]:
        receiver.handle(SENDER, parts)
    hellos = [parts for _, parts in receiver.take_replies()]
    assert len(hellos) == 2
    sender.handle(hellos[0])
    _write(sender)
    sender.handle(hellos[1])
    assert sender.statistics().waiting == 2  # one of three was sent in the new session, which was not restarted


def test_lost_acknowledgements_are_detected_at_the_next_ping() -> None:
    sender, receiver = _connect()
    sender.add(("hall", 0), [])
    receiver.handle(SENDER, _write(sender))
    receiver.take(1)
    receiver.acknowledge(("hall", 0))
    receiver.take_replies()  # and they are lost
    for _ in range(2):
        receiver.handle(SENDER, sender.ping())
        while (parts := sender.next_data()) is not None:
            sender.mark_written()
            receiver.handle(SENDER, parts)
        for _, parts in receiver.take_replies():
            sender.handle(parts)
    while (parts := sender.next_data()) is not None:
        sender.mark_written()
        receiver.handle(SENDER, parts)
    for _, parts in receiver.take_replies():
        sender.handle(parts)
    assert sender.take_acknowledged() == [("hall", 0)]
    assert receiver.statistics().items == 1


def _write(sender: HopSender) -> Parts:
    parts = sender.next_data()
    assert parts is not None
    sender.mark_written()
    return parts


def test_a_sender_restarted_under_another_name_receives_the_acknowledgements() -> None:
    sender, receiver = _connect()
    sender.add(("hall", 0), [])
    receiver.handle(SENDER, _write(sender))
    [delivery] = receiver.take(1)
    again = HopSender("link")
    receiver.handle(b"other", again.ping())
    [(_, hello)] = receiver.take_replies()
    again.handle(hello)
    again.add(("hall", 0), [])
    receiver.handle(b"other", _write(again))
    receiver.acknowledge(delivery.key)
    assert [sender for sender, _ in receiver.take_replies()] == [b"other"]


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [2, 1, EOS_SEQ + 1])
def test_an_item_out_of_order_raises(seq: int) -> None:
    sender = HopSender("link from track to pose")
    sender.add(("hall", 2), [])
    with pytest.raises(TransportError) as caught:
        sender.add(("hall", seq), [])
    assert str(caught.value) == (
        f"link from track to pose: item {seq} of camera 'hall' comes after item 2; send one item per frame, in order"
    )


def test_an_item_that_is_too_large_raises() -> None:
    sender = HopSender("link from track to pose")
    with pytest.raises(TransportError) as caught:
        sender.add(("hall", 2), [b""] * 131)
    assert "item 2 of camera 'hall' has 131 buffers of up to 0 bytes; a link carries 130 of" in str(caught.value)


def test_a_queue_without_room_raises() -> None:
    with pytest.raises(TransportError, match="cannot keep max_items=0; give at least 1"):
        HopReceiver("downstream", 0)


# -- hostile notes ----------------------------------------------------------------------------------------------------

TOKEN = b"12345678"
NOTES = [
    Data(TOKEN, TOKEN, 0, "hall", 0),
    Ping(b"", TOKEN, 0),
    Hello(TOKEN, TOKEN, True, 0),
    Done(TOKEN, [("hall", 0)]),
]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"\xff" * 70_000],
        [msgspec.msgpack.encode(Data(b"short", TOKEN, 0, "hall", 0))],
        [msgspec.msgpack.encode(Data(TOKEN, TOKEN, -1, "hall", 0))],
        [msgspec.msgpack.encode(Data(TOKEN, TOKEN, 0, "h" * 257, 0))],
        [msgspec.msgpack.encode(Data(TOKEN, TOKEN, 0, "hall", EOS_SEQ + 1))],
        [msgspec.msgpack.encode(["hop9.data", TOKEN])],
        [msgspec.msgpack.encode(NOTES[0])] + [b""] * 131,
        [msgspec.msgpack.encode(NOTES[3])],
    ],
)
def test_a_receiver_counts_and_drops_malformed_notes(parts: Parts) -> None:
    receiver = HopReceiver()
    receiver.handle(SENDER, parts)
    assert receiver.statistics().malformed == 1
    assert not receiver.take_replies()


def test_a_sender_counts_and_drops_malformed_notes() -> None:
    sender = HopSender("link")
    sender.handle([b"nonsense"])
    sender.handle([msgspec.msgpack.encode(NOTES[0])])
    assert sender.statistics().malformed == 2


def test_mutated_notes_are_harmless() -> None:
    rng = random.Random(4)
    seeds = [bytearray(msgspec.msgpack.encode(note)) for note in NOTES]
    sender, receiver = _connect()
    for _ in range(30_000):
        note = bytearray(rng.choice(seeds))
        note[rng.randrange(len(note))] = rng.randrange(256)
        receiver.handle(rng.randbytes(2), [bytes(note[: rng.randrange(len(note) + 5)]), b"x"])
        sender.handle([bytes(note)])
        receiver.take_replies(), sender.take_acknowledged()
    assert receiver.statistics().malformed > 15_000
    assert receiver.statistics().items == 0  # an epoch cannot be guessed
    assert len(receiver._senders) <= reliable.MAX_SENDERS


def test_the_number_of_cameras_is_bounded() -> None:
    sender, receiver = _connect()
    for number in range(reliable.MAX_CAMERAS + 1):
        sender.add((f"camera {number}", 0), [])
        receiver.handle(SENDER, _write(sender))
    assert receiver.statistics().items == reliable.MAX_CAMERAS
    assert receiver.statistics().malformed == 1


def test_the_number_of_senders_is_bounded() -> None:
    receiver = HopReceiver()
    receiver.handle(b"ping", HopSender("link").ping())
    [(_, hello)] = receiver.take_replies()
    for number in range(reliable.MAX_SENDERS + 10):
        sender = HopSender("link")
        sender.handle(hello)
        receiver.handle(str(number).encode(), sender.ping())
    assert len(receiver._senders) == reliable.MAX_SENDERS
