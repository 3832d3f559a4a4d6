"""When a subscriber asks for a snapshot again."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from stream.protocol.joining import Joining


@pytest.mark.parametrize(
    ("received", "stated", "is_whole"), [(2, 2, True), (1, 2, False), (3, 2, False), (0, 0, True), (1, UNSET, True)]
)
def test_a_snapshot_is_whole_with_as_many_messages_as_it_says(received: int, stated: int, is_whole: bool) -> None:
    joining = Joining(["poses/"])
    for _ in range(received):
        joining.count("snapshot/5f/poses/")
    assert joining.is_whole("snapshot/5f/poses/", stated) is is_whole
    assert joining.is_whole("snapshot/5f/poses/", 0), "each heartbeat begins a new count"


def test_only_what_is_missing_is_asked_for_again_once_in_three_intervals() -> None:
    joining = Joining(["poses/hall", "poses/yard"])
    joining.begin(now_s=10.0)
    joining.settle("poses/hall")
    asked = [joining.ask_again(now_s, interval_s=1.0) for now_s in (12.9, 13.0, 13.1, 16.0)]
    assert asked == [[], ["poses/yard"], [], ["poses/yard"]]
    assert joining.asked_again == 2
    joining.settle("poses/")
    assert joining.ask_again(99.0, interval_s=1.0) == []
    joining.begin(now_s=100.0)
    assert joining.asked_again == 0
    assert joining.ask_again(103.0, interval_s=1.0) == ["poses/hall", "poses/yard"]


def test_a_publisher_of_short_intervals_does_not_make_a_client_ask_without_end() -> None:
    joining = Joining(["poses/"])
    joining.begin(now_s=0.0)
    asked = [joining.ask_again(number / 1000, interval_s=0.001) for number in range(1000)]
    assert sum(map(bool, asked)) == 9


def test_what_is_remembered_is_bounded() -> None:
    joining = Joining(["poses/"])
    for number in range(5000):
        joining.count(f"snapshot/{number}")
        joining.settle(f"poses/{number}")
    assert (len(joining._received), len(joining._whole)) == (1024, 1024)
