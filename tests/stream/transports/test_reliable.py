"""The protocol of a hop, tried without sockets: on lines that lose, on peers that die, on notes that are none."""

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
from stream.transports.reliable import Data, Done, Hello, Parts, Ping, Receiving, Sending

SENDER = b"track"


class Line:
    """A sender, a receiver and what is under way between them; everything may be lost and everybody may die."""

    def __init__(self) -> None:
        self.sending = Sending("link from track to pose")
        self.receiving = Receiving(now_ns=lambda: 7)
        self.there: deque[Parts] = deque()
        self.back: deque[Parts] = deque()
        self.next_seq = 0
        self.open: deque[Key] = deque()
        self.given: list[list[Key]] = [[]]
        self.done_with: set[Key] = set()
        self.heard: set[Key] = set()

    def send(self) -> None:
        self.sending.take(("hall", self.next_seq), [b"x"])
        self.next_seq += 1

    def write(self) -> None:
        while (parts := self.sending.next_data()) is not None:
            self.there.append(parts)
            self.sending.written()

    def ping(self) -> None:
        self.there.append(self.sending.ping())

    def carry(self) -> None:
        if self.there:
            self.receiving.arrived(SENDER, self.there.popleft())
            self.back.extend(parts for _, parts in self.receiving.take_replies())

    def carry_back(self) -> None:
        if self.back:
            self.sending.arrived(self.back.popleft())
            self.heard.update(self.sending.take_done())
            assert self.heard <= self.done_with, "what nobody was done with is acknowledged"

    def take(self) -> None:
        for delivery in self.receiving.take(1):
            self.given[-1].append(delivery.key)
            self.open.append(delivery.key)

    def done(self) -> None:
        if self.open:
            self.done_with.add(self.open[0])
            self.receiving.done(self.open.popleft())
            self.back.extend(parts for _, parts in self.receiving.take_replies())

    def exchange(self) -> None:
        """A little of everything, as happens between two disasters."""
        for step in (self.ping, self.write, self.carry, self.carry_back) * 2:
            step()

    def cut(self) -> None:
        """The connection breaks: what is under way is lost, and nobody is told."""
        self.there.clear()
        self.back.clear()

    def restart_receiver(self) -> None:
        self.receiving = Receiving(now_ns=lambda: 7)
        self.open.clear()
        self.given.append([])
        self.cut()

    def restart_sender(self) -> None:
        """A new life computes everything again that nobody said is done."""
        self.sending = Sending("link from track to pose")
        for seq in range(self.next_seq):
            if ("hall", seq) not in self.heard:
                self.sending.take(("hall", seq), [b"x"])
        self.cut()

    def settle(self) -> None:
        """Peace at last: everything is carried, taken and done, with a greeting now and then."""
        for _ in range(4):
            self.ping()
            for _ in range(300):
                for step in (self.write, self.carry, self.take, self.done, self.carry_back):
                    step()


PEACEFUL = ("exchange", "send", "send", "write", "ping", "carry", "carry_back", "take", "done")
DISASTERS = ("cut", "restart_receiver", "restart_sender")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PEACEFUL * 2 + DISASTERS), max_size=80))
def test_whatever_is_lost_and_whoever_dies_every_item_is_done_and_none_is_given_twice(steps: list[str]) -> None:
    line = Line()
    for step in ["send", *steps]:
        getattr(line, step)()
    line.settle()
    assert line.heard == {("hall", seq) for seq in range(line.next_seq)}
    for life in line.given:
        assert life == sorted(set(life))
    assert line.sending.statistics().unacknowledged == 0


def _joined() -> tuple[Sending, Receiving]:
    line = Line()
    line.ping()
    line.carry()
    line.carry_back()
    return line.sending, line.receiving


def test_a_gap_is_noticed_at_the_next_item() -> None:
    sending, receiving = _joined()
    for seq in range(3):
        sending.take(("hall", seq), [])
    first, _lost, third = (_write(sending) for _ in range(3))
    receiving.arrived(SENDER, first)
    receiving.arrived(SENDER, third)
    assert [one.key for one in receiving.take(9)] == [("hall", 0)]
    [(_, hello)] = receiving.take_replies()
    sending.arrived(hello)
    for _ in range(3):
        receiving.arrived(SENDER, _write(sending))
    assert [one.key for one in receiving.take(9)] == [("hall", 1), ("hall", 2)]


def test_a_late_complaint_about_a_former_session_is_not_obeyed_twice() -> None:
    sending, receiving = _joined()
    for seq in range(3):
        sending.take(("hall", seq), [])
    _write(sending)
    for parts in [_write(sending), _write(sending)]:
        receiving.arrived(SENDER, parts)
    complaints = [parts for _, parts in receiving.take_replies()]
    assert len(complaints) == 2
    sending.arrived(complaints[0])
    _write(sending)
    sending.arrived(complaints[1])
    assert sending.statistics().waiting == 2  # one of three went out in the new session, and it was not begun again


def test_lost_acknowledgements_are_noticed_at_the_next_greeting() -> None:
    sending, receiving = _joined()
    sending.take(("hall", 0), [])
    receiving.arrived(SENDER, _write(sending))
    receiving.take(1)
    receiving.done(("hall", 0))
    receiving.take_replies()  # and they are lost
    for _ in range(2):
        receiving.arrived(SENDER, sending.ping())
        while (parts := sending.next_data()) is not None:
            sending.written()
            receiving.arrived(SENDER, parts)
        for _, parts in receiving.take_replies():
            sending.arrived(parts)
    while (parts := sending.next_data()) is not None:
        sending.written()
        receiving.arrived(SENDER, parts)
    for _, parts in receiving.take_replies():
        sending.arrived(parts)
    assert sending.take_done() == [("hall", 0)]
    assert receiving.statistics().items == 1


def _write(sending: Sending) -> Parts:
    parts = sending.next_data()
    assert parts is not None
    sending.written()
    return parts


def test_a_restarted_sender_under_another_name_hears_of_what_its_former_life_sent() -> None:
    sending, receiving = _joined()
    sending.take(("hall", 0), [])
    receiving.arrived(SENDER, _write(sending))
    [delivery] = receiving.take(1)
    again = Sending("link")
    receiving.arrived(b"other", again.ping())
    [(_, hello)] = receiving.take_replies()
    again.arrived(hello)
    again.take(("hall", 0), [])
    receiving.arrived(b"other", _write(again))
    receiving.done(delivery.key)
    assert [sender for sender, _ in receiving.take_replies()] == [b"other"]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [2, 1, EOS_SEQ + 1])
def test_an_item_that_no_receiver_would_take_is_refused(seq: int) -> None:
    sending = Sending("link from track to pose")
    sending.take(("hall", 2), [])
    with pytest.raises(TransportError) as caught:
        sending.take(("hall", seq), [])
    assert str(caught.value) == (
        f"link from track to pose: item {seq} of camera 'hall' comes after item 2; "
        "make one item of a frame and keep them in order"
    )


def test_an_item_that_is_too_large_is_refused() -> None:
    sending = Sending("link from track to pose")
    with pytest.raises(TransportError) as caught:
        sending.take(("hall", 2), [b""] * 131)
    assert "item 2 of camera 'hall' has 131 buffers of up to 0 bytes; a link carries 130 of" in str(caught.value)


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(TransportError, match="cannot keep max_items=0; give it room for at least 1"):
        Receiving("downstream", 0)


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
def test_what_is_no_note_is_counted_and_dropped(parts: Parts) -> None:
    receiving = Receiving()
    receiving.arrived(SENDER, parts)
    assert receiving.statistics().malformed == 1
    assert not receiving.take_replies()


def test_a_sender_counts_what_is_no_note_too() -> None:
    sending = Sending("link")
    sending.arrived([b"nonsense"])
    sending.arrived([msgspec.msgpack.encode(NOTES[0])])
    assert sending.statistics().malformed == 2


def test_a_hundred_thousand_mutated_notes_harm_nobody() -> None:
    rng = random.Random(4)
    seeds = [bytearray(msgspec.msgpack.encode(note)) for note in NOTES]
    sending, receiving = _joined()
    for _ in range(100_000):
        note = bytearray(rng.choice(seeds))
        note[rng.randrange(len(note))] = rng.randrange(256)
        receiving.arrived(rng.randbytes(2), [bytes(note[: rng.randrange(len(note) + 5)]), b"x"])
        sending.arrived([bytes(note)])
        receiving.take_replies(), sending.take_done()
    assert receiving.statistics().malformed > 50_000
    assert receiving.statistics().items == 0  # nobody guesses an epoch
    assert len(receiving._senders) <= reliable.MAX_SENDERS


def test_an_inbox_remembers_a_bounded_number_of_cameras() -> None:
    sending, receiving = _joined()
    for number in range(reliable.MAX_CAMERAS + 1):
        sending.take((f"camera {number}", 0), [])
        receiving.arrived(SENDER, _write(sending))
    assert receiving.statistics().items == reliable.MAX_CAMERAS
    assert receiving.statistics().malformed == 1


def test_the_sender_heard_first_is_forgotten_for_one_too_many() -> None:
    receiving = Receiving()
    receiving.arrived(b"ping", Sending("link").ping())
    [(_, hello)] = receiving.take_replies()
    for number in range(reliable.MAX_SENDERS + 10):
        sending = Sending("link")
        sending.arrived(hello)
        receiving.arrived(str(number).encode(), sending.ping())
    assert len(receiving._senders) == reliable.MAX_SENDERS
