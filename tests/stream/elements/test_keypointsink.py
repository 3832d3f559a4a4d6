"""What leaves the line for the world: numbered, retained, never waiting for anybody."""

from __future__ import annotations

import dataclasses
import socket as network
import time
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
import pytest

from stream.element import Context
from stream.elements.keypointsink import KeypointSink
from stream.protocol import schema
from stream.protocol.schema import EndOfStream, Heartbeat, PoseMessage, Skeleton
from stream.protocol.subscriber import Subscriber
from stream.testing import check_element, make_poses
from tests.stream.publishing import PATIENCE_S, greeted, listening, opened, receive, receive_kind, wait_until


def test_keypointsink_is_an_element() -> None:
    check_element("keypointsink bind=tcp://127.0.0.1:*")


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_a_frame_is_one_message_of_two_parts_on_its_cameras_topic() -> None:
    with opened() as sink, listening(sink.endpoint, "poses/", "snapshot/5f/x") as client:
        wait_until(lambda: greeted(sink), "the client was heard")
        receive_kind(client, Heartbeat)
        sink.consume(make_poses(7, "hall"))
        parts = client.recv_multipart()
        assert parts[0] == b"poses/hall"
        assert len(parts) == 2
        message = schema.decode(parts[1])
        assert isinstance(message, PoseMessage)
        assert (message.camera, message.seq, message.frame_seq) == ("hall", 0, 7)
        np.testing.assert_array_equal(message.people[1].keypoints, make_poses(7).keypoints[1])


def test_the_ledger_says_when_it_was_published_by_the_lent_clock() -> None:
    sink = KeypointSink(bind="tcp://127.0.0.1:*")
    sink.context = Context(now_ns=lambda: 12345)
    with sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: greeted(sink), "the client was heard")
        sink.consume(make_poses(0))
        message = subscriber.poll(PATIENCE_S)
        assert message is not None
        assert message.ledger["published"] == 12345
        assert message.ledger["captured"] == make_poses(0).frame.ledger["captured"]


def test_numbers_are_gapless_for_each_camera_whatever_the_frames_numbers_are() -> None:
    with opened() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: greeted(sink), "the client was heard")
        for seq in (3, 4, 9, 30):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq + 1, "yard"))
        found = [subscriber.poll(PATIENCE_S) for _ in range(8)]
        numbers = [(m.camera, m.seq, m.frame_seq) for m in found if m is not None]
        assert numbers == [
            (camera, number, seq + later)
            for number, seq in enumerate((3, 4, 9, 30))
            for later, camera in enumerate(("hall", "yard"))
        ]


def test_a_prefix_stands_before_every_topic() -> None:
    with opened(prefix="site1/") as sink, listening(sink.endpoint, "") as client:
        assert receive(client)[0] == "site1/heartbeat"
        sink.consume(make_poses(0, "hall"))
        topics = set()
        while len(topics) < 3:
            topics.add(receive(client)[0])
        assert topics == {"site1/heartbeat", "site1/skeleton/coco17", "site1/poses/hall"}
        with Subscriber(sink.endpoint, prefix="site1/") as subscriber:
            message = subscriber.poll(PATIENCE_S)
            assert message is not None
            assert (message.camera, message.retained) == ("hall", True)


def test_heartbeats_come_while_nothing_is_published_and_tell_the_last_numbers() -> None:
    with opened() as sink, listening(sink.endpoint, "heartbeat") as client:
        beat = receive_kind(client, Heartbeat)
        assert (beat.interval_ms, beat.topics) == (50, {})
        for seq in range(5):
            sink.consume(make_poses(seq, "hall"))
        wait_until(lambda: receive_kind(client, Heartbeat).topics == {"poses/hall": 4}, "a heartbeat tells number 4")


def test_the_end_of_the_stream_is_told_once_for_each_camera_with_the_next_number() -> None:
    with opened() as sink, listening(sink.endpoint, "poses/", "snapshot/5f/x") as client:
        wait_until(lambda: greeted(sink), "the client was heard")
        for camera, count in (("hall", 3), ("yard", 1)):
            for seq in range(count):
                sink.consume(make_poses(seq, camera))
        sink.flush()
        sink.flush()
        sink.consume(make_poses(9, "yard"))
        found = []
        while len(found) < 7:
            _, message = receive(client)
            if isinstance(message, PoseMessage | EndOfStream):
                found.append((type(message).__name__, message.camera, message.seq))
        assert sorted(found[4:6]) == [("EndOfStream", "hall", 3), ("EndOfStream", "yard", 1)]
        assert found[6] == ("PoseMessage", "yard", 2)


def test_a_camera_that_ends_before_the_others_is_told_of_at_once() -> None:
    with opened() as sink, Subscriber(sink.endpoint, camera="hall", until_end=True, timeout_s=PATIENCE_S) as subscriber:
        wait_until(lambda: greeted(sink), "the client was heard")
        sink.consume(make_poses(0, "hall"))
        sink.consume(make_poses(0, "yard"))
        sink.ended("hall")
        sink.ended("of nobody")
        assert [message.camera for message in subscriber] == ["hall"]


def test_a_skeleton_nobody_told_of_is_published_without_names() -> None:
    strange = dataclasses.replace(make_poses(0), skeleton="hand21")
    with opened() as sink, listening(sink.endpoint, "skeleton/", "snapshot/5f/") as client:
        sink.consume(strange)
        skeleton = receive_kind(client, Skeleton)
        assert (skeleton.name, skeleton.joints, skeleton.limbs) == ("hand21", (), ())


# -- who comes late ----------------------------------------------------------------------------------------------------


def test_a_newcomer_is_told_the_skeletons_the_last_value_and_that_this_is_all() -> None:
    with opened() as sink:
        for seq in range(5):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq, "yard"))
        with listening(sink.endpoint, "snapshot/5f3a/poses/hall") as client:
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


def test_a_newcomer_hears_that_a_camera_has_ended() -> None:
    with opened() as sink:
        sink.consume(make_poses(0, "hall"))
        sink.flush()
        with listening(sink.endpoint, "snapshot/5f3a/poses/") as client:
            kinds = [type(receive(client)[1]) for _ in range(4)]
    assert kinds == [Skeleton, PoseMessage, EndOfStream, Heartbeat]


def test_only_the_newcomer_gets_the_snapshot() -> None:
    with opened() as sink, Subscriber(sink.endpoint) as first:
        wait_until(lambda: greeted(sink) == 1, "the first was heard")
        sink.consume(make_poses(0))
        message = first.poll(PATIENCE_S)
        assert message is not None
        for number in range(2, 12):
            with Subscriber(sink.endpoint) as newcomer:
                found = newcomer.poll(PATIENCE_S)
                assert found is not None
                assert found.retained
            assert greeted(sink) == number
        sink.consume(make_poses(1))
        following = first.poll(PATIENCE_S)
        assert following is not None
        assert following.seq == 1
        assert first.statistics.total.duplicates == 0


# -- who is slow -------------------------------------------------------------------------------------------------------


def stuck_subscriber(endpoint: str) -> network.socket:
    """A TCP client that speaks ZMTP 3.1 well enough to subscribe to everything, and then never reads again."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    client = network.socket()
    client.setsockopt(network.SOL_SOCKET, network.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.settimeout(PATIENCE_S)
    client.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY" + b"\x0bSocket-Type" + b"\0\0\0\x03SUB"
    client.sendall(b"\x04" + bytes([len(ready)]) + ready)
    client.recv(64)
    time.sleep(0.05)
    client.sendall(b"\x00\x01\x01")  # a message of one byte: subscribe to ""
    return client


def test_a_subscriber_that_is_stuck_holds_up_neither_the_line_nor_the_others() -> None:
    # 20 people: messages of 6 kB, so that buffers of the system are full after a few hundred.
    crowd = make_poses(0, "hall", count=20)
    with opened(max_waiting=16) as sink, Subscriber(sink.endpoint) as healthy:
        wait_until(lambda: greeted(sink), "the healthy one was heard")
        stuck = stuck_subscriber(sink.endpoint)
        time.sleep(0.2)
        longest_s, heard = 0.0, 0
        for seq in range(3000):
            item = dataclasses.replace(crowd, frame=dataclasses.replace(crowd.frame, seq=seq))
            began = time.monotonic()
            sink.consume(item)
            longest_s = max(longest_s, time.monotonic() - began)
            heard += healthy.poll(PATIENCE_S) is not None
        assert heard == 3000
        assert healthy.statistics.total.lost == 0
        # 18 MB were published; a sink that waited for the stuck one would wait for ever. A second: for a busy machine.
        assert longest_s < 1.0
        stuck.close()


def test_a_slow_subscriber_loses_messages_and_counts_them() -> None:
    crowd = make_poses(0, "hall", count=20)
    with opened(max_waiting=16) as sink, Subscriber(sink.endpoint, max_waiting=16) as slow:
        wait_until(lambda: greeted(sink), "it was heard")
        for seq in range(4000):  # 24 MB: more than all buffers between here and there
            sink.consume(dataclasses.replace(crowd, frame=dataclasses.replace(crowd.frame, seq=seq)))
        got = 0
        while (found := slow.poll(0.5)) is not None:
            got += 1
            last = found.seq
        # A heartbeat after the flood tells of the tail that never came.
        wait_until(lambda: slow.poll(0.1) is None and slow.statistics.total.lost + got == 4000, "all are accounted for")
        assert 0 < got < 4000
        assert last < 4000


# -- who is killed -----------------------------------------------------------------------------------------------------


class KilledError(Exception):
    """What the process would not live to see."""


class Fatal(MutableMapping[str, int]):
    """A memory whose owner is killed at its n-th write: before it, so that the write does not happen."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.left = -1

    def __setitem__(self, name: str, value: int) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        self.kept[name] = value

    def __getitem__(self, name: str) -> int:
        return self.kept[name]

    def __delitem__(self, name: str) -> None:
        del self.kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.kept))

    def __len__(self) -> int:
        return len(self.kept)


@pytest.mark.parametrize("writes", range(1, 12))
def test_killed_at_any_write_of_its_memory_it_numbers_every_frame_once_without_gaps(
    monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    sent: list[tuple[str, int, int]] = []

    def noted(self: KeypointSink, topic: str, payload: bytes, **more: Any) -> None:
        found = schema.decode(payload)
        if isinstance(found, PoseMessage):
            sent.append((found.session, found.seq, found.frame_seq))

    monkeypatch.setattr(KeypointSink, "_publish", noted)
    memory, frames, done = Fatal(), [0, 2, 3, 7, 8], 0
    memory.left = writes
    for incarnation in range(2):
        sink = KeypointSink(bind="tcp://127.0.0.1:*")
        sink.context = Context(memory=memory, incarnation=incarnation)
        try:
            with sink:
                for seq in frames[max(0, done - 1) :]:  # the last one done may not be known to be done upstream
                    sink.consume(make_poses(seq))
                    done += 1
        except KilledError:
            memory.left = -1
            continue
        break
    assert len({session for session, _, _ in sent}) == 1
    # A number stands for one frame only, numbers have no gap, and every frame has one.
    assert sorted({(seq, frame) for _, seq, frame in sent}) == list(enumerate(frames))


def test_a_subscriber_of_a_restarted_sink_sees_the_numbers_go_on() -> None:
    memory: dict[str, int] = {}
    first = KeypointSink(bind="tcp://127.0.0.1:*")
    first.context = Context(memory=memory)
    first.__enter__()
    endpoint = first.endpoint
    with Subscriber(endpoint) as subscriber:
        wait_until(lambda: greeted(first), "the client was heard")
        first.consume(make_poses(0))
        first.consume(make_poses(1))
        assert [message.seq for message in (subscriber.poll(PATIENCE_S), subscriber.poll(PATIENCE_S)) if message] == [
            0,
            1,
        ]
        first.__exit__(None, None, None)
        again = KeypointSink(bind=endpoint)
        again.context = Context(memory=memory, incarnation=1)
        with again:
            wait_until(lambda: greeted(again) or subscriber.poll(0.01), "the client came back")
            again.consume(make_poses(1))  # known already
            again.consume(make_poses(2))
            message = subscriber.poll(PATIENCE_S)
            assert message is not None
            assert (message.seq, message.frame_seq) == (2, 2)
        assert subscriber.statistics.sessions == 1
        assert subscriber.statistics.total.lost == 0


def test_a_new_run_is_a_new_session() -> None:
    sink, sessions = KeypointSink(bind="tcp://127.0.0.1:*"), []
    for _ in range(2):
        with sink, listening(sink.endpoint, "poses/", "snapshot/5f/poses/") as client:
            sink.consume(make_poses(0))
            message = receive_kind(client, PoseMessage)
            sessions.append(message.session)
            assert message.seq == 0
    assert sessions[0] != sessions[1]
