"""Parts of snapshots, without sockets."""

from __future__ import annotations

from stream.transports.snapshots import Snapshots

CLIENT, OTHER = 7, 8


class Queue:
    """Takes ``room`` messages."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[tuple[str, bytes]] = []

    def send(self, topic: str, message: bytes) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.sent.append((topic, message))
        return True


def make(topic: str) -> list[bytes]:
    return [] if topic == "live" else [b"1", b"2", b"3"]


def test_each_client_is_sent_a_part_in_each_turn() -> None:
    queue = Queue(100)
    snapshots = Snapshots(make, queue.send, per_turn=2)
    snapshots.ask(CLIENT, "a")
    snapshots.ask(CLIENT, "live")
    snapshots.ask(CLIENT, "b")
    snapshots.ask(OTHER, "c")
    completed = [snapshots.take_turn({CLIENT, OTHER}) for _ in range(4)]
    assert completed == [0, 2, 1, 0]
    assert [topic for topic, _ in queue.sent] == ["a", "a", "c", "c", "a", "b", "c", "b", "b"]
    assert [message for topic, message in queue.sent if topic == "b"] == [b"1", b"2", b"3"]
    assert not snapshots


def test_what_finds_no_room_is_sent_later() -> None:
    queue = Queue(1)
    snapshots = Snapshots(make, queue.send, per_turn=10)
    snapshots.ask(CLIENT, "a")
    assert [snapshots.take_turn({CLIENT}), snapshots.take_turn({CLIENT})] == [0, 0]
    queue.room = 2
    assert snapshots.take_turn({CLIENT}) == 1
    assert [message for _, message in queue.sent] == [b"1", b"2", b"3"]


def test_what_a_client_no_longer_wants_is_forgotten() -> None:
    """Else one that subscribes and unsubscribes without end would fill the memory."""
    queue = Queue(1)
    snapshots = Snapshots(make, queue.send, per_turn=10)
    for topic in ("a", "b", "c"):
        snapshots.ask(CLIENT, topic)
    snapshots.take_turn({CLIENT})
    for topic in ("a", "c", "never asked"):
        snapshots.withdraw(CLIENT, topic)
    snapshots.withdraw(OTHER, "a")
    queue.room = 10
    assert snapshots.take_turn({CLIENT}) == 1
    assert queue.sent == [("a", b"1"), ("b", b"1"), ("b", b"2"), ("b", b"3")]
    assert not snapshots


def test_a_client_that_has_left_is_forgotten() -> None:
    queue = Queue(1)
    snapshots = Snapshots(make, queue.send, per_turn=10)
    snapshots.ask(CLIENT, "a")
    snapshots.take_turn({CLIENT})
    snapshots.take_turn(set())
    assert not snapshots
