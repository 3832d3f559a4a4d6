"""New, lost and duplicate messages, without sockets."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest

from stream.errors import VersionError
from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage
from stream.protocol.sequence import MAX_CAMERAS, MAX_HELD_BACK, MAX_HELD_BACK_BYTES, MAX_SKELETONS, Counts, Reception
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

    def heartbeat(
        self, topics: Mapping[str, int], session: str = ONE, topic: str = "heartbeat", ended: Sequence[str] = ()
    ) -> None:
        payload = schema.encode_heartbeat(session=session, wall_ns=1, interval_ms=1000, topics=topics, ended=ended)
        self.send(topic, payload)

    def end_snapshot(self, topics: Mapping[str, int], wanted: str = "poses/", ended: Sequence[str] = ()) -> None:
        self.heartbeat(topics, topic=f"snapshot/5f/{wanted}", ended=ended)

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


def test_a_live_heartbeat_before_a_snapshot_does_not_hide_its_poses() -> None:
    line = Publishing()
    line.heartbeat({"poses/hall": 41})
    line.poses(41, snapshot=True)
    line.end_snapshot({"poses/hall": 41})
    assert [(message.seq, message.retained) for message in line.got] == [(41, True)]
    assert line.total == Counts(messages=1)


def test_the_end_of_a_snapshot_says_where_the_numbers_of_its_cameras_begin() -> None:
    line = Publishing()
    line.end_snapshot({"poses/hall": 41, "poses/yard": 7}, wanted="poses/hall")
    line.poses(43)  # 42 was lost before anything arrived
    line.poses(7, camera="yard")  # of a snapshot that is still to come
    line.poses(2, camera="hallway")  # new since the snapshot: 0 and 1 were lost
    cameras = line.reception.statistics().cameras
    assert cameras == {
        "hall": Counts(messages=1, lost=1, gaps=1),
        "yard": Counts(messages=1),
        "hallway": Counts(messages=1, lost=2, gaps=1),
    }


def test_a_heartbeat_reveals_that_the_only_message_was_lost() -> None:
    line = Publishing()
    line.end_snapshot({})
    line.heartbeat({"poses/hall": 0})
    assert line.total == Counts(lost=1, gaps=1)


def test_a_lost_end_is_known_from_the_next_heartbeat() -> None:
    line = Publishing(Reception(frozenset(["hall"])))
    line.poses(0)
    line.heartbeat({"poses/hall": 1, "poses/yard": 5}, ended=["poses/hall"])
    assert line.reception.ended
    assert line.total == Counts(messages=1, lost=1, gaps=1)
    line.poses(2)
    assert not line.reception.ended
    line.heartbeat({"poses/hall": 1}, ended=["poses/hall"])  # older than the last message
    assert not line.reception.ended


def test_a_camera_that_ended_before_the_subscription_has_ended_without_its_messages() -> None:
    line = Publishing()
    line.end_snapshot({"poses/hall": 5}, ended=["poses/hall"])
    assert line.reception.ended
    assert line.total == Counts()


def test_another_major_version_raises_and_names_both() -> None:
    line = Publishing()
    line.poses(0)
    payload = schema.encode_end(session=ONE, seq=1, camera="hall", wall_ns=1).replace(
        b"\x92" + bytes(schema.VERSION), b"\x92\x02\x00"
    )
    with pytest.raises(VersionError) as caught:
        line.send("poses/hall", payload)
    assert str(caught.value) == "the publisher uses protocol 2.0 and this subscriber 1.3; upgrade the older one"


def test_it_is_alive_for_three_intervals_after_a_message() -> None:
    now_s = 100.0
    line = Publishing(Reception(now_s=lambda: now_s))
    assert not line.reception.alive
    line.heartbeat({})
    now_s = 103.0
    assert line.reception.alive
    now_s = 103.1
    assert not line.reception.alive
    line.poses(0)
    assert line.reception.alive


def test_any_number_of_cameras_sessions_and_skeletons_takes_bounded_memory() -> None:
    line = Publishing()
    count = 3 * MAX_CAMERAS
    for number in range(count):
        line.poses(0, camera=f"camera{number}", count=0)
        line.send("skeleton/x", schema.encode_skeleton(session=ONE, name=f"{number}", joints=["a"], limbs=[]))
    line.end_snapshot({f"poses/other{number}": 1 for number in range(count)}, ended=[f"poses/{count}"])
    assert len(line.reception.cameras) <= 2 * MAX_CAMERAS
    assert len(line.reception.skeletons) == MAX_SKELETONS
    assert len(line.reception.statistics().cameras) == MAX_CAMERAS
    assert line.total.messages == count
    for number in range(100):
        line.poses(0, session=f"{number:016x}")
    assert len(line.reception.cameras) <= MAX_CAMERAS


def test_messages_that_wait_for_their_skeleton_are_bounded_in_bytes() -> None:
    line = Publishing(with_skeleton=False)
    size = len(schema.encode_poses(make_poses(0, "hall", count=2000), session=ONE, seq=0))
    enough = MAX_HELD_BACK_BYTES // size
    line.poses(*range(enough), count=2000)
    assert line.got == []
    line.poses(enough, count=2000)
    assert len(line.got) == enough + 1


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


def test_an_end_before_any_other_message_does_not_hide_the_last_poses() -> None:
    line = Publishing(Reception(frozenset(["hall"])))
    line.end(4)
    assert not line.reception.ended
    line.poses(3, snapshot=True)
    line.heartbeat({"poses/hall": 4}, topic="snapshot/5f/poses/hall", ended=["poses/hall"])
    assert (line.seqs, line.reception.ended) == ([3], True)


def test_without_a_selection_all_known_cameras_must_have_ended() -> None:
    line = Publishing()
    line.end_snapshot({"poses/hall": 0, "poses/yard": 0})
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
