"""The queue of an inbox: which items wait and which are dropped."""

from __future__ import annotations

from stream.messages import EOS_SEQ, Key
from stream.transports.base import Delivery, Leaky
from stream.transports.queue import DeliveryQueue


def put(queue: DeliveryQueue, *keys: Key) -> list[Key | None]:
    return [queue.put(Delivery(key, (), 0)) for key in keys]


def take_keys(queue: DeliveryQueue) -> list[Key]:
    return [one.key for one in queue.take(100)]


def hall(*seqs: int) -> list[Key]:
    return [("hall", seq) for seq in seqs]


def fill(leaky: Leaky, max_items: int) -> tuple[DeliveryQueue, list[Key | None]]:
    queue = DeliveryQueue(leaky, max_items)
    return queue, put(queue, *hall(0, 1, 2, 3))


def test_downstream_drops_the_oldest() -> None:
    queue, dropped = fill("downstream", 2)
    assert dropped == [None, None, *hall(0, 1)]
    assert take_keys(queue) == hall(2, 3)


def test_upstream_refuses_the_newest() -> None:
    queue, dropped = fill("upstream", 2)
    assert dropped == [None, None, *hall(2, 3)]
    assert take_keys(queue) == hall(0, 1)


def test_without_leaky_all_items_are_kept() -> None:
    queue, dropped = fill("no", 1)
    assert dropped == [None] * 4
    assert take_keys(queue) == hall(0, 1, 2, 3)


def test_a_fast_camera_does_not_displace_a_slow_one() -> None:
    queue = DeliveryQueue("downstream", 1)
    put(queue, ("door", 0), *hall(0, 1, 2))
    assert take_keys(queue) == [("door", 0), ("hall", 2)]


def test_an_end_of_stream_is_kept_and_not_counted() -> None:
    queue = DeliveryQueue("downstream", 1)
    assert put(queue, ("hall", 0), ("hall", EOS_SEQ), ("door", 0)) == [None, None, None]
    assert take_keys(queue) == [("hall", 0), ("hall", EOS_SEQ), ("door", 0)]


def test_there_is_room_after_an_item_was_taken() -> None:
    queue = DeliveryQueue("upstream", 1)
    put(queue, *hall(0))
    assert take_keys(queue) == hall(0)
    assert put(queue, *hall(1, 2)) == [None, ("hall", 2)]
