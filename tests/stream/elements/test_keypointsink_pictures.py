"""``keypointsink pictures=true``: pictures beside the poses, made only while a client asks for them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from stream.elements.keypointsink import KeypointSink
from stream.messages import Poses
from stream.protocol import schema
from stream.protocol.pictures import PictureSubscriber
from stream.protocol.schema import Picture
from stream.protocol.subscriber import Subscriber
from stream.testing import check_element, make_poses
from stream.testing.videos import numbered_picture, read_number
from tests.stream.publishing import open_client, open_sink, wait_until


def make_numbered(seq: int, camera: str = "hall") -> Poses:
    poses = make_poses(seq, camera)
    return replace(poses, frame=replace(poses.frame, pixels=numbered_picture(seq)))


def is_wanted(sink: KeypointSink, topic: str = "pictures/hall") -> bool:
    assert sink._publisher is not None
    return sink._publisher.is_wanted(topic)


def test_it_is_an_element() -> None:
    check_element("keypointsink bind=tcp://127.0.0.1:* linger_s=0 pictures=true")


def test_a_picture_follows_the_poses_of_its_frame_on_a_topic_of_its_own() -> None:
    with (
        open_sink(pictures=True, prefix="site/", picture_height=120) as sink,
        open_client(sink.endpoint, "site/p") as client,
    ):
        wait_until(lambda: is_wanted(sink, "site/pictures/hall"), "the client has subscribed")
        sink.consume(make_numbered(12))
        topics, payloads = zip(*(client.recv_multipart() for _ in range(2)), strict=True)
    assert topics == (b"site/poses/hall", b"site/pictures/hall")
    picture = schema.decode(payloads[1])
    assert isinstance(picture, Picture)
    assert (picture.camera, picture.frame_seq, picture.size) == ("hall", 12, (320, 240))
    pixels = np.asarray(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    assert pixels.shape == (120, 160, 3)
    assert read_number(pixels.repeat(2, 0).repeat(2, 1)) == 12


def test_nothing_is_encoded_while_no_client_asks_for_pictures_of_the_camera() -> None:
    with open_sink(pictures=True) as sink, Subscriber(sink.endpoint, timeout_s=30) as subscriber:
        assert sink._pictures is not None
        offered: list[int] = []
        sink._pictures.offer = lambda frame: bool(offered.append(frame.seq))  # type: ignore[method-assign, func-returns-value]
        sink.consume(make_numbered(0))
        assert next(subscriber).frame_seq == 0
        with open_client(sink.endpoint, "pictures/hall"):
            wait_until(lambda: is_wanted(sink), "the client has subscribed")
            sink.consume(make_numbered(1))
            sink.consume(make_numbered(1, "yard"))
        wait_until(lambda: not is_wanted(sink), "the client has gone")
        sink.consume(make_numbered(2))
    assert offered == [1]


def test_without_the_property_no_picture_leaves_the_line() -> None:
    with open_sink() as sink, open_client(sink.endpoint, "") as client:
        wait_until(lambda: is_wanted(sink), "the client has subscribed")
        sink.consume(make_numbered(0))
        sink.consume(make_numbered(1))
        kinds = {topic.split(b"/")[0] for topic, _ in (client.recv_multipart() for _ in range(4))}
    assert kinds <= {b"poses", b"skeleton", b"heartbeat"}
    assert b"poses" in kinds


def test_a_subscriber_of_keypoints_alone_is_sent_no_pictures() -> None:
    with open_sink(pictures=True) as sink, Subscriber(sink.endpoint, timeout_s=30) as subscriber:
        with PictureSubscriber(sink.endpoint) as pictures:
            wait_until(lambda: is_wanted(sink), "the client has subscribed")
            sink.consume(make_numbered(3))
            assert pictures.poll(30) is not None
            assert next(subscriber).frame_seq == 3
        assert subscriber.statistics.malformed == 0
