"""New, lost and duplicate messages, without sockets."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from stream.protocol import schema
from stream.protocol.schema import PoseMessage
from stream.protocol.sequence import MAX_HELD_BACK, Counts, Reception
from stream.testing import make_poses

ONE, OTHER = "0" * 16, "1" * 16


class Publishing:
    """Feeds a reception the messages of a publisher, and collects its output."""

    def __init__(self, reception: Reception | None = None, *, with_skeleton: bool = True) -> None:
        self.reception = reception or Reception()
        self.got: list[PoseMessage] = []
        if with_skeleton:
            self.skeleton()

    def send(self, topic: str, payload: bytes) -> None:
        self.got += self.reception.take(topic.encode(), payload, now_ns=99)

    def poses(
        self, *seqs: int, camera: str = "hall", session: str = ONE, snapshot: bool = False, count: int = 2
    ) -> None:
        topic = f"snapshot/5f/poses/{camera}" if snapshot else f"poses/{camera}"
        for seq in seqs:
            poses = make_poses(seq, camera, count=count)
            self.send(topic, schema.encode_poses(poses, session=session, seq=seq))

    def skeleton(self, session: str = ONE) -> None:
        joints = [f"joint{number}" for number in range(17)]
        self.send("skeleton/coco17", schema.encode_skeleton(session=session, name="coco17", joints=joints, limbs=[]))

    def heartbeat(self, topics: Mapping[str, int], session: str = ONE, topic: str = "heartbeat") -> None:
        self.send(topic, schema.encode_heartbeat(session=session, wall_ns=1, interval_ms=1000, topics=topics))

    def end(self, seq: int, camera: str = "hall", session: str = ONE) -> None:
        payload = schema.encode_end(session=session, seq=seq, camera=camera, wall_ns=1)
        self.send(f"poses/{camera}", payload)

    @property
    def seqs(self) -> list[int]:
        return [message.seq for message in self.got]

    @property
    def total(self) -> Counts:
        return self.reception.statistics().total


def test_messages_in_order_are_delivered_and_counted() -> None:
    line = Publishing()
    line.poses(0, 1, 2)
    assert line.seqs == [0, 1, 2]
    assert line.total == Counts(messages=3)
    assert line.got[0].joints[:2] == ("joint0", "joint1")
    assert line.got[0].people[1]["joint16"].tolist() == line.got[0].people[1].keypoints[16].tolist()
    assert line.got[0].received_ns == 99
    assert not line.got[0].retained


def test_a_gap_is_counted_once_and_by_its_length() -> None:
    line = Publishing()
    line.poses(4, 5, 9, 10, 20)
    assert line.total == Counts(messages=5, lost=12, gaps=2)


def test_duplicates_are_dropped_and_counted() -> None:
    line = Publishing()
    line.poses(0, 1, 1, 0, 2)
    assert line.seqs == [0, 1, 2]
    assert line.total == Counts(messages=3, duplicates=2)


def test_cameras_are_numbered_independently() -> None:
    line = Publishing()
    line.poses(0, 1, camera="hall")
    line.poses(7, 9, camera="yard")
    cameras = line.reception.statistics().cameras
    assert cameras == {"hall": Counts(messages=2), "yard": Counts(messages=2, lost=1, gaps=1)}
    assert line.total == Counts(messages=4, lost=1, gaps=1)


def test_a_camera_with_the_selected_name_as_prefix_is_not_delivered() -> None:
    line = Publishing(Reception(frozenset(["hall"])))
    line.poses(0, camera="hallway")
    line.poses(0, camera="hall")
    assert [message.camera for message in line.got] == ["hall"]
    assert line.reception.statistics().cameras.keys() == {"hall"}


def test_a_message_of_a_snapshot_is_delivered_if_new_and_never_counted_as_a_duplicate() -> None:
    line = Publishing()
    line.poses(5, snapshot=True)
    line.poses(6)
    line.poses(6, snapshot=True)
    assert [(message.seq, message.retained) for message in line.got] == [(5, True), (6, False)]
    assert line.total == Counts(messages=2)


def test_a_snapshot_after_a_broken_connection_reveals_losses() -> None:
    line = Publishing()
    line.poses(5)
    line.poses(9, snapshot=True)
    assert line.seqs == [5, 9]
    assert line.total == Counts(messages=2, lost=3, gaps=1)


def test_a_new_session_starts_at_0_without_losses() -> None:
    line = Publishing()
    line.poses(100, 101)
    line.poses(0, 1, session=OTHER)
    assert line.seqs[:2] == [100, 101]
    line.skeleton(OTHER)
    line.poses(2, session=OTHER)
    assert line.seqs == [100, 101, 0, 1, 2]
    assert line.total == Counts(messages=5)
    assert line.reception.statistics().sessions == 2


def test_a_heartbeat_reveals_that_the_last_messages_were_lost() -> None:
    line = Publishing()
    line.poses(0, 1)
    line.heartbeat({"poses/hall": 4, "poses/yard": 9})
    assert line.total == Counts(messages=2, lost=3, gaps=1)
    line.poses(5)
    assert line.total == Counts(messages=3, lost=3, gaps=1)
    assert line.reception.cameras == ("hall", "yard")


def test_a_heartbeat_before_the_first_message_is_no_loss() -> None:
    line = Publishing()
    line.heartbeat({"poses/hall": 41})
    line.poses(42)
    assert line.total == Counts(messages=1)


def test_messages_wait_for_their_skeleton() -> None:
    line = Publishing(with_skeleton=False)
    line.poses(0, 1)
    assert line.got == []
    line.skeleton()
    line.poses(2)
    assert [(message.seq, len(message.joints)) for message in line.got] == [(0, 17), (1, 17), (2, 17)]


def test_messages_wait_at_most_until_the_end_of_the_snapshot() -> None:
    line = Publishing(with_skeleton=False)
    line.poses(0, 1)
    line.heartbeat({"poses/hall": 1}, topic="snapshot/5f/poses/")
    line.poses(2)
    assert [(message.seq, message.joints) for message in line.got] == [(0, ()), (1, ()), (2, ())]


def test_without_a_snapshot_a_bounded_number_of_messages_waits() -> None:
    line = Publishing(with_skeleton=False)
    line.poses(*range(MAX_HELD_BACK + 10))
    assert line.seqs == list(range(MAX_HELD_BACK + 10))


def test_only_the_selected_person_is_delivered_and_frames_without_it_are_not() -> None:
    line = Publishing(Reception(person=2))
    line.poses(0, count=3)
    line.poses(1, count=1)
    line.poses(2, count=2)
    assert [(message.seq, message.ids) for message in line.got] == [(0, (2,)), (2, (2,))]
    assert line.total == Counts(messages=3)


def test_a_camera_has_ended_until_its_next_message() -> None:
    line = Publishing(Reception(frozenset(["hall"])))
    assert not line.reception.ended
    line.poses(0)
    line.end(1)
    assert line.reception.ended
    assert line.total == Counts(messages=1)
    line.poses(2)
    assert not line.reception.ended


def test_without_a_selection_all_known_cameras_must_have_ended() -> None:
    line = Publishing()
    line.heartbeat({"poses/hall": 0, "poses/yard": 0})
    line.end(1, "hall")
    assert not line.reception.ended
    line.end(1, "yard")
    assert line.reception.ended


def test_an_end_counts_as_a_message_of_its_topic() -> None:
    line = Publishing()
    line.poses(0)
    line.end(3)
    assert line.total == Counts(messages=1, lost=2, gaps=1)


@pytest.mark.parametrize("prefix", ["", "site1/"])
def test_a_prefix_is_part_of_topics_but_not_of_camera_names(prefix: str) -> None:
    line = Publishing(Reception(prefix=prefix))
    line.heartbeat({f"{prefix}poses/hall": 3}, topic=f"{prefix}heartbeat")
    assert line.reception.cameras == ("hall",)


def test_malformed_messages_are_counted_and_ignored() -> None:
    dice, line = random.Random(4), Publishing()
    line.poses(0)
    for _ in range(1000):
        line.send("poses/hall", dice.randbytes(dice.randrange(60)))
    list(line.reception.take(b"\xff\xfe", b"", 0))
    line.poses(1)
    assert line.seqs == [0, 1]
    assert line.total == Counts(messages=2)
    assert line.reception.statistics().malformed == 1001
