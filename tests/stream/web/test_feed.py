"""A feed: pictures joined with the poses of their frames, and asked for only while it is watched."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from stream.elements.keypointsink import KeypointSink
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import VERSION, Picture
from stream.web import feed as feed_module
from stream.web.feed import Address, CameraState, Feed
from stream.web.join import Join
from tests.stream.bridges.frames import make_message
from tests.stream.elements.test_keypointsink_pictures import is_wanted, make_numbered
from tests.stream.publishing import open_sink, wait_until

SESSION = "0123456789abcdef"


def make_pair(seq: int, camera: str = "hall", session: str = SESSION) -> tuple[PoseMessage, Picture]:
    message = replace(make_message(seq, camera), session=session)
    picture = Picture(
        version=VERSION, session=session, camera=camera, frame_seq=seq, wall_ns=0, size=(640, 480), jpeg=b"%d" % seq
    )
    return message, picture


def test_a_picture_meets_its_poses_in_either_order_and_no_others() -> None:
    join = Join()
    first, second = make_pair(1), make_pair(2)
    assert join.add_poses(first[0]) is None
    assert join.add_picture(second[1]) is None
    assert join.add_picture(first[1]) is first[0]
    assert join.add_poses(second[0]) is second[1]
    assert join.add_picture(second[1]) is None, "a pair is returned once"
    assert join.add_poses(make_pair(3, "yard")[0]) is None
    assert join.add_picture(make_pair(3, "hall")[1]) is None, "another camera"
    assert join.add_picture(make_pair(3, "yard", "f" * 16)[1]) is None, "another run"


def test_what_waits_is_bounded() -> None:
    join = Join()
    pairs = [make_pair(seq) for seq in range(70)]
    for message, _ in pairs:
        join.add_poses(message)
    assert [join.add_picture(picture) is not None for _, picture in pairs] == [False] * 6 + [True] * 64
    late = [make_pair(seq, "yard") for seq in range(4)]
    for _, picture in late:
        join.add_picture(picture)
    assert [join.add_poses(message) is not None for message, _ in late] == [False, False, True, True]


class Delivered(list[tuple[str, int, bytes]]):
    def __call__(self, camera: CameraState, message: PoseMessage, jpeg: bytes) -> None:
        self.append((camera.name, message.frame_seq, jpeg[:2]))


@contextmanager
def following(sink: KeypointSink, delivered: Delivered) -> Iterator[Feed]:
    feed = Feed(Address(sink.endpoint), delivered)
    try:
        wait_until(lambda: not feed.trouble, "the publisher is heard")
        yield feed
    finally:
        feed.close()


def test_pictures_are_asked_for_while_it_is_watched_and_not_before_or_after(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    delivered = Delivered()
    with open_sink(pictures=True) as sink, following(sink, delivered) as feed:
        sink.consume(make_numbered(0))
        wait_until(lambda: feed.cameras, "the camera is known")
        assert not is_wanted(sink)
        feed.watch(True)
        wait_until(lambda: is_wanted(sink), "pictures are asked for")
        sink.consume(make_numbered(1))
        wait_until(lambda: delivered, "the frame is delivered")
        feed.watch(False)
        wait_until(lambda: not is_wanted(sink), "pictures are not asked for any more")
        sink.consume(make_numbered(2))
        wait_until(lambda: feed.cameras["hall"].last.frame_seq == 2, "keypoints come all the same")
    assert f"camera 'hall' is published on {feed.address.address}" in caplog.messages
    assert delivered == [("hall", 1, b"\xff\xd8")]
    assert feed.skeletons["coco17"].joints[0] == "nose"


def test_a_camera_without_pictures_is_shown_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_NO_PICTURES_S", 0.0)
    delivered = Delivered()
    with open_sink() as sink, following(sink, delivered) as feed:
        feed.watch(True)
        sink.consume(make_numbered(0))
        wait_until(lambda: delivered, "the frame is delivered")
        sink.consume(make_numbered(1))
        wait_until(lambda: feed.cameras["hall"].last.frame_seq == 1, "the next has come")
        assert feed.cameras["hall"].lost == 0
    assert delivered[0] == ("hall", 0, b"")


def test_an_earlier_frame_is_not_shown_after_a_later_one() -> None:
    delivered = Delivered()
    with open_sink() as sink, following(sink, delivered) as feed:
        camera = CameraState("hall", make_pair(0)[0])
        for seq in (1, 3, 2, 4):
            feed._show(camera, *make_pair(seq))
        feed._show(camera, *make_pair(0, session="f" * 16))
    assert [seq for _, seq, _ in delivered] == [1, 3, 4, 0]


def test_cameras_beyond_the_most_are_counted_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_CAMERAS", 2)
    with open_sink() as sink, following(sink, Delivered()) as feed:
        for name in ("a", "b", "c", "d"):
            sink.consume(make_numbered(0, name))
        wait_until(lambda: len(feed.hidden) == 2, "they are counted")
        assert sorted(feed.cameras) == ["a", "b"]


def test_pictures_of_cameras_that_a_publisher_invents_do_not_wait() -> None:
    delivered = Delivered()
    with open_sink() as sink, following(sink, delivered) as feed:
        sink.consume(make_numbered(0))
        wait_until(lambda: feed.cameras, "the camera is known")
        for number in range(10):
            feed._take_picture(make_pair(number, f"invented{number}")[1])
        message, picture = make_pair(7)
        feed._take_picture(picture)
        assert list(feed._join._pictures) == ["hall"]
        assert feed._join.add_poses(message) is picture


def test_rates_and_silence_are_those_of_the_last_seconds() -> None:
    camera = CameraState("hall", make_message(0))
    assert camera.silent_s(9.0) == float("inf")
    for step in range(200):
        camera.count(make_message(step), 100 + step / 20)
    assert camera.fps(109.95) == pytest.approx(20)
    assert camera.silent_s(111.95) == pytest.approx(2)
    assert camera.fps(120.0) == 0.0
