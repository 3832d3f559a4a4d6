"""Rendezvous of cameras with lanes, and of lanes with hosts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cluster.assignment import Host, Needs, Room, assign_cameras, assign_lanes, explain_refusal
from stream.cluster.hashing import hash_name, hash_names, score, weigh

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=5), unique=True, max_size=30)


def test_scores_do_not_depend_on_the_process() -> None:
    assert hash_name("hall") == 5658274381986003607  # of blake2b, and so of any machine
    assert [int(one) for one in score(1, np.array([2, 3], np.uint64))] == [10905525725756348110, 10451216379200822465]


def test_each_candidate_is_the_highest_as_often_as_its_weight_says() -> None:
    hosts, weights = hash_names(["small", "large"]), np.array([1.0, 3.0])
    chosen = Counter(int(weigh(score(hash_name(f"lane-{n}"), hosts), weights).argmax()) for n in range(2000))
    assert chosen[1] / 2000 == pytest.approx(0.75, abs=0.04)


# -- cameras to lanes -------------------------------------------------------------------------------------------------


@given(NAMES, NAMES, st.integers(1, 8))
def test_no_lane_has_more_than_its_share(cameras: list[str], lanes: list[str], most: int) -> None:
    found = assign_cameras(cameras, lanes, most=most, current={})
    counts = Counter(found.values())
    assert set(found) <= set(cameras)
    assert len(found) == min(len(cameras), most * len(lanes))
    if lanes and cameras:
        assert max(counts.values()) <= min(most, -(-len(cameras) // len(lanes)))


@given(NAMES, NAMES)
def test_the_order_in_which_cameras_and_lanes_are_named_changes_nothing(cameras: list[str], lanes: list[str]) -> None:
    one = assign_cameras(cameras, lanes, most=64, current={})
    assert one == assign_cameras(cameras[::-1], sorted(lanes), most=64, current={})


@given(NAMES, st.lists(st.text("xyz", min_size=1, max_size=3), unique=True, min_size=2, max_size=8), st.data())
def test_a_lane_that_goes_moves_its_own_cameras_alone(
    cameras: list[str], lanes: list[str], data: st.DataObject
) -> None:
    before = assign_cameras(cameras, lanes, most=64, current={})
    gone = data.draw(st.sampled_from(lanes))
    after = assign_cameras(cameras, [lane for lane in lanes if lane != gone], most=64, current=before)
    assert {camera for camera in before if before[camera] != after[camera]} == {
        camera for camera, lane in before.items() if lane == gone
    }


def test_a_further_lane_takes_its_share_and_no_other_camera_moves() -> None:
    cameras = [f"camera-{n}" for n in range(90)]
    before = assign_cameras(cameras, ["a", "b"], most=64, current={})
    after = assign_cameras(cameras, ["a", "b", "c"], most=64, current=before)
    moved = {camera for camera in cameras if before[camera] != after[camera]}
    assert len(moved) == 30
    assert {after[camera] for camera in moved} == {"c"}


# -- lanes to hosts ---------------------------------------------------------------------------------------------------

HOSTS = st.dictionaries(
    st.text("pqr", min_size=1, max_size=3),
    st.builds(Host, cpus=st.integers(0, 4), gpus=st.integers(0, 2), is_drained=st.booleans()),
    max_size=6,
)


@given(st.integers(0, 20), st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0]), HOSTS)
def test_no_host_is_given_more_than_it_has(count: int, gpus: float, hosts: dict[str, Host]) -> None:
    needs = Needs(cpus=0.5, gpus=gpus)
    found = assign_lanes({f"lane-{n}": needs for n in range(count)}, hosts, [])
    for name, lanes in Counter(found.values()).items():
        assert not hosts[name].is_drained
        assert lanes <= Room(hosts[name]).count(needs)
    most = sum(Room(host).count(needs) for host in hosts.values() if not host.is_drained)
    assert len(found) == min(count, most)


def test_a_part_of_a_gpu_is_a_part_of_one() -> None:
    room = Room(Host(cpus=8, gpus=2))
    assert [room.take(Needs(gpus=0.6)) for _ in range(3)] == [True, True, False]  # 0.4 of each is left
    assert not room.take(Needs(gpus=1))
    assert [room.take(Needs(gpus=0.4)) for _ in range(3)] == [True, True, False]


def test_parts_fill_a_gpu_before_they_open_another() -> None:
    room = Room(Host(cpus=8, gpus=2))
    assert all(room.take(Needs(gpus=0.25)) for _ in range(4))
    assert room.take(Needs(gpus=1))


def test_lanes_go_only_where_their_labels_are() -> None:
    hosts = {"a": Host(8, labels={"zone": "north"}), "b": Host(8, labels={"zone": "south", "disk": "fast"})}
    found = assign_lanes({f"{n}": Needs(labels={"zone": "south"}) for n in range(4)}, hosts, [])
    assert set(found.values()) == {"b"}


def test_a_new_host_fills_up_first() -> None:
    hosts = {name: Host(8) for name in "abc"}
    taken = [(name, Needs()) for name in "ab" for _ in range(4)]
    found = assign_lanes({f"{n}": Needs() for n in range(4)}, hosts, taken)
    assert Counter(found.values())["c"] == 4


def test_a_host_takes_lanes_in_the_measure_of_its_size() -> None:
    found = assign_lanes({f"{n}": Needs() for n in range(10)}, {"small": Host(2), "large": Host(8)}, [])
    assert Counter(found.values()) == {"small": 2, "large": 8}


@pytest.mark.parametrize(
    ("hosts", "needs", "words"),
    [
        ({}, Needs(), "there is no host; add one"),
        ({"a": Host(4, is_drained=True)}, Needs(), "every host is drained: a; add another"),
        ({"a": Host(4)}, Needs(labels={"zone": "south"}), "no host has the labels zone=south; add one"),
        ({"a": Host(4)}, Needs(cpus=8), "no room for 8 CPUs and 0 GPUs on a; add a host, or lower"),
    ],
)
def test_why_a_lane_waits_is_said_with_the_remedy(hosts: dict[str, Host], needs: Needs, words: str) -> None:
    assert assign_lanes({"lane": needs}, hosts, []) == {}
    assert words in explain_refusal(needs, hosts)
