"""``keypointsink``: numbered messages, snapshots for new subscribers, and no waiting for slow ones."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import skeletons
from engines.spec.signature import Signature
from stream.element import Context
from stream.elements.keypointsink import KeypointSink
from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton
from stream.protocol.subscriber import Subscriber
from stream.testing import check_element, make_poses
from stream.transports.publisher import Publisher
from tests.stream.publishing import (
    TIMEOUT_S,
    count_snapshots,
    open_client,
    open_raw_client,
    open_sink,
    raw_message,
    receive,
    receive_kind,
    wait_until,
)


def test_keypointsink_is_an_element() -> None:
    check_element("keypointsink bind=tcp://127.0.0.1:* linger_s=0")


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_a_frame_is_one_message_of_two_parts_on_the_topic_of_its_camera() -> None:
    with open_sink() as sink, open_client(sink.endpoint, "poses/", "snapshot/5f/x") as client:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        receive_kind(client, Heartbeat)
        sink.consume(make_poses(7, "hall"))
        parts = client.recv_multipart()
        assert parts[0] == b"poses/hall"
        assert len(parts) == 2
        message = schema.decode(parts[1])
        assert isinstance(message, PoseMessage)
        assert (message.camera, message.seq, message.frame_seq) == ("hall", 0, 7)
        np.testing.assert_array_equal(message.people[1].keypoints, make_poses(7).keypoints[1])


def test_the_ledger_has_the_time_of_publishing_by_the_clock_of_the_context() -> None:
    sink = KeypointSink(bind="tcp://127.0.0.1:*")
    sink.context = Context(now_ns=lambda: 12345)
    with sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        sink.consume(make_poses(0))
        message = subscriber.poll(TIMEOUT_S)
        assert message is not None
        assert message.ledger["published"] == 12345
        assert message.ledger["captured"] == make_poses(0).frame.ledger["captured"]


def test_message_numbers_have_no_gaps_when_frame_numbers_have() -> None:
    with open_sink() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        for seq in (3, 4, 9, 30):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq + 1, "yard"))
        found = [subscriber.poll(TIMEOUT_S) for _ in range(8)]
        numbers = [(m.camera, m.seq, m.frame_seq) for m in found if m is not None]
        assert numbers == [
            (camera, number, seq + later)
            for number, seq in enumerate((3, 4, 9, 30))
            for later, camera in enumerate(("hall", "yard"))
        ]


def test_every_topic_has_the_prefix() -> None:
    with open_sink(prefix="site1/") as sink, open_client(sink.endpoint, "") as client:
        assert receive(client)[0] == "site1/heartbeat"
        sink.consume(make_poses(0, "hall"))
        topics: set[str] = set()
        while len(topics) < 3:
            topics.add(receive(client)[0])
        assert topics == {"site1/heartbeat", "site1/skeleton/coco17", "site1/poses/hall"}
        with Subscriber(sink.endpoint, prefix="site1/") as subscriber:
            message = subscriber.poll(TIMEOUT_S)
            assert message is not None
            assert (message.camera, message.retained) == ("hall", True)


def test_heartbeats_are_sent_while_nothing_is_published_and_have_the_last_numbers() -> None:
    with open_sink() as sink, open_client(sink.endpoint, "heartbeat") as client:
        beat = receive_kind(client, Heartbeat)
        assert (beat.interval_ms, beat.topics) == (50, {})
        for seq in range(5):
            sink.consume(make_poses(seq, "hall"))
        wait_until(lambda: receive_kind(client, Heartbeat).topics == {"poses/hall": 4}, "a heartbeat has number 4")


def test_the_end_of_the_stream_is_sent_once_per_camera_with_the_next_number() -> None:
    with open_sink() as sink, open_client(sink.endpoint, "poses/", "snapshot/5f/x") as client:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        for camera, count in (("hall", 3), ("yard", 1)):
            for seq in range(count):
                sink.consume(make_poses(seq, camera))
        sink.flush()
        sink.flush()
        sink.consume(make_poses(9, "yard"))
        found: list[tuple[str, str, int]] = []
        while len(found) < 7:
            _, message = receive(client)
            if isinstance(message, PoseMessage | EndOfStream):
                found.append((type(message).__name__, message.camera, message.seq))
        assert sorted(found[4:6]) == [("EndOfStream", "hall", 3), ("EndOfStream", "yard", 1)]
        assert found[6] == ("PoseMessage", "yard", 2)


def test_the_end_of_one_camera_is_sent_at_once() -> None:
    with (
        open_sink() as sink,
        Subscriber(sink.endpoint, camera="hall", until_end=True, timeout_s=TIMEOUT_S) as subscriber,
    ):
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        sink.consume(make_poses(0, "hall"))
        sink.consume(make_poses(0, "yard"))
        sink.end("hall")
        sink.end("unknown")
        assert [message.camera for message in subscriber] == ["hall"]


def test_an_unknown_skeleton_is_published_without_names() -> None:
    strange = dataclasses.replace(make_poses(0), skeleton="hand21")
    with open_sink() as sink, open_client(sink.endpoint, "skeleton/", "snapshot/5f/") as client:
        sink.consume(strange)
        skeleton = receive_kind(client, Skeleton)
        assert (skeleton.name, skeleton.joints, skeleton.limbs) == ("hand21", (), ())


# -- new subscribers ---------------------------------------------------------------------------------------------------


def test_a_skeleton_of_a_signature_reaches_subscribers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(skeletons._KNOWN, "hand2", None)  # forgotten afterwards
    del skeletons._KNOWN["hand2"]
    Signature(name="hand", input_size=(64, 64), skeleton="hand2", joint_names=("root", "tip"), limbs=(("root", "tip"),))
    with open_sink() as sink, open_client(sink.endpoint, "skeleton/", "snapshot/5f/") as client:
        sink.consume(dataclasses.replace(make_poses(0), skeleton="hand2"))
        skeleton = receive_kind(client, Skeleton)
        assert (skeleton.name, skeleton.joints, skeleton.limbs) == ("hand2", ("root", "tip"), ((0, 1),))


def test_a_snapshot_has_the_skeletons_the_last_message_and_a_heartbeat_as_its_end() -> None:
    with open_sink() as sink:
        for seq in range(5):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq, "yard"))
        with open_client(sink.endpoint, "snapshot/5f3a/poses/hall") as client:
            answer = [receive(client) for _ in range(3)]
        assert {topic for topic, _ in answer} == {"snapshot/5f3a/poses/hall"}
        skeleton, poses, beat = (message for _, message in answer)
        assert isinstance(skeleton, Skeleton)
        assert skeleton.joints[9] == "left_wrist"
        assert (7, 9) in skeleton.limbs
        assert isinstance(poses, PoseMessage)
        assert (poses.camera, poses.seq) == ("hall", 4)
        assert isinstance(beat, Heartbeat)
        assert beat.topics == {"poses/hall": 4, "poses/yard": 4}


def test_a_snapshot_has_the_end_of_a_camera() -> None:
    with open_sink() as sink:
        sink.consume(make_poses(0, "hall"))
        sink.flush()
        with open_client(sink.endpoint, "snapshot/5f3a/poses/") as client:
            kinds = [type(receive(client)[1]) for _ in range(4)]
    assert kinds == [Skeleton, PoseMessage, EndOfStream, Heartbeat]


def has_sent_snapshots(sink: KeypointSink, number: int) -> bool:
    return count_snapshots(sink) == number


def test_a_snapshot_goes_to_the_new_subscriber_only() -> None:
    with open_sink() as sink, Subscriber(sink.endpoint) as first:
        wait_until(lambda: count_snapshots(sink) == 1, "the first client has subscribed")
        sink.consume(make_poses(0))
        message = first.poll(TIMEOUT_S)
        assert message is not None
        for number in range(2, 12):
            with Subscriber(sink.endpoint) as client:
                found = client.poll(TIMEOUT_S)
                assert found is not None
                assert found.retained
                wait_until(partial(has_sent_snapshots, sink, number), f"snapshot {number} has been sent")
        sink.consume(make_poses(1))
        following = first.poll(TIMEOUT_S)
        assert following is not None
        assert following.seq == 1
        assert first.statistics.total.duplicates == 0


# -- slow subscribers --------------------------------------------------------------------------------------------------


def test_a_stuck_subscriber_delays_neither_the_line_nor_the_others() -> None:
    # 20 people: messages of 6 kB, so that buffers of the system are full after a few hundred.
    crowd = make_poses(0, "hall", count=20)
    with open_sink(max_waiting=16) as sink, Subscriber(sink.endpoint) as healthy:
        wait_until(lambda: count_snapshots(sink), "the healthy client has subscribed")
        stuck = open_raw_client(sink.endpoint)
        stuck.sendall(raw_message(b"\1"))  # it subscribes to everything, and never reads again
        time.sleep(0.2)
        longest_s, received = 0.0, 0
        for seq in range(3000):
            item = dataclasses.replace(crowd, frame=dataclasses.replace(crowd.frame, seq=seq))
            start_s = time.monotonic()
            sink.consume(item)
            longest_s = max(longest_s, time.monotonic() - start_s)
            received += healthy.poll(TIMEOUT_S) is not None
        assert received == 3000
        assert healthy.statistics.total.lost == 0
        # 18 MB were published; a sink that waited for the stuck one would never finish. One second allows for load.
        assert longest_s < 1.0
        stuck.close()


def test_a_slow_subscriber_loses_messages_and_counts_them() -> None:
    crowd = make_poses(0, "hall", count=20)
    with open_sink(max_waiting=16) as sink, Subscriber(sink.endpoint, max_waiting=16) as slow:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        for seq in range(4000):  # 24 MB: more than all buffers between here and there
            sink.consume(dataclasses.replace(crowd, frame=dataclasses.replace(crowd.frame, seq=seq)))
        got = 0
        while (found := slow.poll(0.5)) is not None:
            got += 1
            last = found.seq
        # A heartbeat after the flood reveals that the last messages were lost.
        wait_until(lambda: slow.poll(0.1) is None and slow.statistics.total.lost + got == 4000, "all are accounted for")
        assert 0 < got < 4000
        assert last < 4000


# -- restarts ----------------------------------------------------------------------------------------------------------


class KilledError(Exception):
    """Raised where the process would be killed."""


class FailingMemory(MutableMapping[str, int]):
    """A memory whose process is killed just before the n-th write."""

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.left = -1

    def __setitem__(self, name: str, value: int) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        self.stored[name] = value

    def __getitem__(self, name: str) -> int:
        return self.stored[name]

    def __delitem__(self, name: str) -> None:
        del self.stored[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.stored))

    def __len__(self) -> int:
        return len(self.stored)


@pytest.mark.parametrize("writes", range(1, 12))
def test_after_a_kill_at_any_write_every_frame_has_one_number_without_gaps(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    sent: list[tuple[str, int, int]] = []

    def record(self: KeypointSink, topic: str, payload: bytes, **more: Any) -> None:
        found = schema.decode(payload)
        if isinstance(found, PoseMessage):
            sent.append((found.session, found.seq, found.frame_seq))

    monkeypatch.setattr(KeypointSink, "_publish", record)
    memory, frames, done = FailingMemory(), [0, 2, 3, 7, 8], 0
    memory.left = writes
    for incarnation in range(2):
        sink = KeypointSink(bind="tcp://127.0.0.1:*")
        sink.context = Context(memory=memory, incarnation=incarnation)
        try:
            with sink:
                for seq in frames[max(0, done - 1) :]:  # the last one may be unacknowledged upstream
                    sink.consume(make_poses(seq))
                    done += 1
        except KilledError:
            memory.left = -1
            continue
        break
    assert len({session for session, _, _ in sent}) == 1
    # Each number belongs to one frame, numbers have no gap, and every frame has one.
    assert sorted({(seq, frame) for _, seq, frame in sent}) == list(enumerate(frames))


def test_a_restarted_sink_continues_the_numbers() -> None:
    memory: dict[str, int] = {}
    first = KeypointSink(bind="tcp://127.0.0.1:*")
    first.context = Context(memory=memory)
    first.__enter__()
    endpoint = first.endpoint
    with Subscriber(endpoint) as subscriber:
        wait_until(lambda: count_snapshots(first), "the client has subscribed")
        first.consume(make_poses(0))
        first.consume(make_poses(1))
        assert [message.seq for message in (subscriber.poll(TIMEOUT_S), subscriber.poll(TIMEOUT_S)) if message] == [
            0,
            1,
        ]
        first.__exit__(None, None, None)
        again = KeypointSink(bind=endpoint)
        again.context = Context(memory=memory, incarnation=1)
        with again:
            wait_until(lambda: count_snapshots(again) or subscriber.poll(0.01), "the client has reconnected")
            again.consume(make_poses(1))  # already published
            again.consume(make_poses(2))
            message = subscriber.poll(TIMEOUT_S)
            assert message is not None
            assert (message.seq, message.frame_seq) == (2, 2)
        assert subscriber.statistics.sessions == 1
        assert subscriber.statistics.total.lost == 0


def test_a_restarted_sink_knows_numbers_and_ends_and_repeats_no_end() -> None:
    memory: dict[str, int] = {}
    for incarnation in range(2):
        sink = KeypointSink(bind="tcp://127.0.0.1:*", linger_s=0)
        sink.context = Context(memory=memory, incarnation=incarnation)
        with sink:
            if incarnation == 0:
                sink.consume(make_poses(0, "hall"))
                sink.consume(make_poses(0, "yard"))
            sink.end("hall")
            with open_client(sink.endpoint, "snapshot/5f3a/poses/") as client:
                beat = receive_kind(client, Heartbeat)
            assert (beat.topics, beat.ended) == ({"poses/hall": 1, "poses/yard": 0}, ("poses/hall",))


# -- the end of a file -------------------------------------------------------------------------------------------------


def publish_file(sink: KeypointSink) -> None:
    with sink:
        sink.consume(make_poses(0, "hall"))
        sink.flush()


def test_after_a_file_it_waits_for_a_first_subscriber_who_gets_the_end(tmp_path: Path) -> None:
    sink = KeypointSink(bind=f"ipc://{tmp_path}/late", linger_s=5)
    thread = threading.Thread(target=publish_file, args=(sink,))
    thread.start()
    with Subscriber(sink.bind, until_end=True, timeout_s=TIMEOUT_S) as subscriber:
        assert [message.seq for message in subscriber] == [0]
    thread.join(TIMEOUT_S)


@pytest.mark.parametrize("all_ended", [True, False])
def test_it_waits_only_after_the_end_of_all_cameras(monkeypatch: pytest.MonkeyPatch, all_ended: bool) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Publisher, "wait_until_asked", lambda _, timeout_s: waited.append(timeout_s))
    with KeypointSink(bind="tcp://127.0.0.1:*", linger_s=1.5) as sink:
        sink.consume(make_poses(0, "hall"))
        sink.consume(make_poses(0, "yard"))
        sink.end("hall")
        if all_ended:
            sink.end("yard")
    assert waited == ([1.5] if all_ended else [])


def test_the_last_heartbeat_is_sent_when_it_closes() -> None:
    with open_sink(heartbeat_ms=60_000) as sink, open_client(sink.endpoint, "heartbeat", "snapshot/5f/x") as client:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        sink.consume(make_poses(0, "hall"))
        sink.flush()
        sink.__exit__(None, None, None)
        while not (beat := receive_kind(client, Heartbeat)).topics:
            pass
        assert (beat.topics, beat.ended) == ({"poses/hall": 1}, ("poses/hall",))


def test_a_new_run_is_a_new_session() -> None:
    sink, sessions = KeypointSink(bind="tcp://127.0.0.1:*"), []
    for _ in range(2):
        with sink, open_client(sink.endpoint, "poses/", "snapshot/5f/poses/") as client:
            sink.consume(make_poses(0))
            message = receive_kind(client, PoseMessage)
            sessions.append(message.session)
            assert message.seq == 0
    assert sessions[0] != sessions[1]
