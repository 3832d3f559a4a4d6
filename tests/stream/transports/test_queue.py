"""Who waits, and who must go."""

from __future__ import annotations

from stream.messages import EOS_SEQ, Key
from stream.transports.base import Delivery, Leaky
from stream.transports.queue import Waiting


def put(waiting: Waiting, *keys: Key) -> list[Key | None]:
    return [waiting.put(Delivery(key, (), 0)) for key in keys]


def kept(waiting: Waiting) -> list[Key]:
    return [one.key for one in waiting.take(100)]


def hall(*seqs: int) -> list[Key]:
    return [("hall", seq) for seq in seqs]


def filled(leaky: Leaky, max_items: int) -> tuple[Waiting, list[Key | None]]:
    waiting = Waiting(leaky, max_items)
    return waiting, put(waiting, *hall(0, 1, 2, 3))


def test_downstream_lets_the_oldest_go() -> None:
    waiting, gone = filled("downstream", 2)
    assert gone == [None, None, *hall(0, 1)]
    assert kept(waiting) == hall(2, 3)


def test_upstream_turns_the_newest_away() -> None:
    waiting, gone = filled("upstream", 2)
    assert gone == [None, None, *hall(2, 3)]
    assert kept(waiting) == hall(0, 1)


def test_a_patient_line_keeps_all() -> None:
    waiting, gone = filled("no", 1)
    assert gone == [None] * 4
    assert kept(waiting) == hall(0, 1, 2, 3)


def test_a_fast_camera_does_not_push_a_slow_one_out() -> None:
    waiting = Waiting("downstream", 1)
    put(waiting, ("door", 0), *hall(0, 1, 2))
    assert kept(waiting) == [("door", 0), ("hall", 2)]


def test_an_end_of_stream_stays_and_takes_nobodys_place() -> None:
    waiting = Waiting("downstream", 1)
    assert put(waiting, ("hall", 0), ("hall", EOS_SEQ), ("door", 0)) == [None, None, None]
    assert kept(waiting) == [("hall", 0), ("hall", EOS_SEQ), ("door", 0)]


def test_there_is_room_again_when_one_was_taken() -> None:
    waiting = Waiting("upstream", 1)
    put(waiting, *hall(0))
    assert kept(waiting) == hall(0)
    assert put(waiting, *hall(1, 2)) == [None, ("hall", 2)]
