"""A subscriber connects, reconnects, selects messages, and can be closed from any thread."""

from __future__ import annotations

import asyncio
import random
import socket as network
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import zmq

import stream
from stream.elements.keypointsink import KeypointSink
from stream.errors import PropertyError, SilenceError, TransportError, VersionError
from stream.protocol import schema, topics
from stream.protocol.pose_message import PoseMessage
from stream.protocol.sequence import Counts
from stream.protocol.subscriber import Subscriber
from stream.testing import make_poses
from stream.transports.publisher import Publisher
from tests.stream.publishing import TIMEOUT_S, count_snapshots, open_sink, wait_until


def free_address() -> str:
    """An address without a publisher."""
    with network.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a thread while the body runs."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(TIMEOUT_S)


def publish(address: str, count: int = 20, cameras: tuple[str, ...] = ("hall",)) -> None:
    """A short run that starts with the first subscriber."""
    with open_sink(bind=address) as sink:
        wait_until(lambda: count_snapshots(sink), "a client has subscribed")
        for seq in range(count):
            for camera in cameras:
                sink.consume(make_poses(seq, camera))
        sink.flush()


def test_it_may_start_before_the_publisher_and_stops_with_until_end() -> None:
    address = free_address()
    with Subscriber(address, until_end=True, timeout_s=TIMEOUT_S) as subscriber, meanwhile(lambda: publish(address)):
        assert [message.seq for message in subscriber] == list(range(20))
        assert subscriber.finished


def test_what_waits_to_be_polled_is_bounded_in_bytes() -> None:
    with Subscriber(free_address()) as subscriber:
        assert subscriber._subscription._socket.rcvhwm * schema.MAX_MESSAGE_BYTES <= 256 * 1024**2


def test_it_is_exported_by_the_package() -> None:
    assert stream.Subscriber is Subscriber
    assert stream.PoseMessage is PoseMessage
    assert issubclass(stream.SilenceError, TimeoutError)


def test_messages_can_be_awaited() -> None:
    address = free_address()

    async def received() -> list[int]:
        with Subscriber(address, until_end=True, timeout_s=TIMEOUT_S) as subscriber:
            return [message.seq async for message in subscriber]

    with meanwhile(lambda: publish(address)):
        assert asyncio.run(received()) == list(range(20))


def test_awaiting_does_not_block_the_loop() -> None:
    async def ticks_while_waiting() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        task = asyncio.create_task(tick())
        with Subscriber(free_address(), timeout_s=0.5) as subscriber, pytest.raises(SilenceError):
            await anext(subscriber)
        task.cancel()
        return ticks

    # Fifty are possible; a blocked loop would make one.
    assert asyncio.run(ticks_while_waiting()) > 5


def test_several_cameras_can_be_selected() -> None:
    address, cameras = free_address(), ("hall", "hallway", "yard")
    chosen = Subscriber(address, camera=["hall", "yard"], until_end=True, timeout_s=TIMEOUT_S)
    with chosen as subscriber, meanwhile(lambda: publish(address, 5, cameras)):
        assert [message.camera for message in subscriber] == ["hall", "yard"] * 5
        assert {"hall", "yard"} <= set(subscriber.cameras) <= set(cameras)


def test_one_person_can_be_selected() -> None:
    address = free_address()
    chosen = Subscriber(address, person=2, until_end=True, timeout_s=TIMEOUT_S)
    with chosen as subscriber, meanwhile(lambda: publish(address, 3)):
        assert [message.ids for message in subscriber] == [(2,)] * 3


def test_the_first_message_has_the_names_of_its_joints() -> None:
    with open_sink() as sink:
        sink.consume(make_poses(0))
        for _ in range(20):
            with Subscriber(sink.endpoint) as subscriber:
                message = subscriber.poll(TIMEOUT_S)
                assert message is not None
                assert message.joints[0] == "nose"
                assert subscriber.skeletons["coco17"].joints == message.joints


def test_it_reconnects_to_a_restarted_publisher_and_counts_sessions() -> None:
    address = free_address()
    with Subscriber(address, timeout_s=TIMEOUT_S) as subscriber:
        for run in range(1, 4):
            with meanwhile(lambda: publish(address, 5)):
                assert [next(subscriber).seq for _ in range(5)] == list(range(5))
            assert subscriber.statistics.sessions == run
        assert subscriber.statistics.total.messages == 15
        assert subscriber.statistics.total.lost == 0


def test_latest_skips_older_messages_and_counts_them() -> None:
    with open_sink() as sink, Subscriber(sink.endpoint, latest=True) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        wait_until(lambda: subscriber.poll() or subscriber.alive, "a heartbeat has arrived")
        for seq in range(100):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq, "yard"))
        newest: dict[str, int] = {}
        given = 0
        while len(newest) < 2 or min(newest.values()) < 99:
            message = subscriber.poll(TIMEOUT_S)
            assert message is not None
            newest[message.camera] = message.seq
            given += 1
        assert subscriber.statistics.skipped == 200 - given
        assert subscriber.statistics.total.lost == 0


def test_it_can_be_closed_from_another_thread_while_it_waits() -> None:
    subscriber = Subscriber(free_address())

    def close_later() -> None:
        time.sleep(0.1)
        subscriber.close()

    with meanwhile(close_later):
        assert list(subscriber) == []
    assert subscriber.finished
    subscriber.close()


def test_polling_waits_for_the_timeout() -> None:
    with Subscriber(free_address()) as subscriber:
        start_s = time.monotonic()
        assert subscriber.poll(0.2) is None
        assert time.monotonic() - start_s >= 0.19  # clocks of sleep and of measurement may differ by a tick
        assert subscriber.poll() is None
        assert not subscriber.alive


def test_silence_and_a_publisher_without_poses_have_different_messages() -> None:
    address = free_address()
    with Subscriber(address, timeout_s=0.2) as subscriber, pytest.raises(SilenceError) as caught:
        next(subscriber)
    assert str(caught.value) == (
        f"nothing for 0.2 s: {address} sends no heartbeats; start a line with keypointsink there, or check the address"
    )
    with open_sink() as sink:
        sink.consume(make_poses(0, "yard"))
        with Subscriber(sink.endpoint, camera="hall", timeout_s=0.5) as subscriber:
            with pytest.raises(SilenceError) as caught:
                next(subscriber)
            assert subscriber.alive
        assert str(caught.value) == (
            f"nothing for 0.5 s: {sink.endpoint} is alive but published none of the selected poses; its cameras: yard"
        )


def test_a_stopped_publisher_is_not_alive() -> None:
    with Subscriber(address := free_address()) as subscriber:
        with open_sink(bind=address):
            wait_until(lambda: subscriber.poll(0.01) or subscriber.alive, "it is alive")
        wait_until(lambda: subscriber.poll(0.01) is None and not subscriber.alive, "it is not alive")


@contextmanager
def false_publisher() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A publisher that never drops anything, and its address."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = socket.sndhwm = 0  # before a client connects, since later it has no effect
        yield socket, f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def test_a_publisher_of_another_major_version_is_refused_in_one_line() -> None:
    payload = schema.encode_end(session="0" * 16, seq=1, camera="hall", wall_ns=1)
    with false_publisher() as (false, address), Subscriber(address, timeout_s=TIMEOUT_S) as subscriber:
        assert false.poll(round(TIMEOUT_S * 1000))
        while false.poll(100):
            false.recv()
        false.send_multipart([b"poses/hall", payload.replace(b"\x92" + bytes(schema.VERSION), b"\x92\x02\x00")])
        with pytest.raises(VersionError, match=r"^the publisher uses protocol 2\.0 and this subscriber 1\.3; upgrade"):
            next(subscriber)


def test_noise_from_a_false_publisher_is_counted_and_dropped() -> None:
    dice = random.Random(1)
    with false_publisher() as (false, address), Subscriber(address) as subscriber:
        for _ in range(4):
            assert false.poll(round(TIMEOUT_S * 1000))
            false.recv()  # its four subscriptions
        noise = dice.randbytes(100_080)
        for number in range(100_000):
            parts = [noise[number + part : number + part + number % 80] for part in range(number % 4)]
            false.send_multipart([b"poses/" + noise[number : number + number % 20], *parts])
        wait_until(
            lambda: subscriber.poll(0.05) is None and subscriber.statistics.malformed == 100_000,
            "all noise was counted",
        )
        assert subscriber.statistics.total.messages == 0


def test_many_subscribers_of_a_process_leak_no_sockets() -> None:
    descriptors = psutil.Process().num_fds
    with open_sink() as sink:
        sink.consume(make_poses(0))

        def subscribe_once() -> None:
            with Subscriber(sink.endpoint) as subscriber:
                assert subscriber.poll(TIMEOUT_S) is not None

        subscribe_once()
        wait_until(lambda: is_stable(descriptors), "the first is closed")
        before = descriptors()
        for _ in range(20):
            subscribe_once()
        # A connection whose close has not reached the other side holds a descriptor or two.
        wait_until(lambda: descriptors() <= before + 2, "all are closed")


def is_stable(count: Callable[[], int]) -> bool:
    """True if ``count`` does not change for a tenth of a second."""
    first = count()
    time.sleep(0.1)
    return count() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"address": "tcp://192.168.1.20:5570"},
            (
                "subscriber: tcp://192.168.1.20:5570 is another host, which requires CURVE keys; "
                "give server_key= (its .key file)"
            ),
        ),
        (
            {"address": "localhost"},
            "subscriber: 'localhost' is not an address; write ipc://PATH or tcp://HOST:PORT",
        ),
        (
            {"server_key": "nowhere.key"},
            ("key file nowhere.key cannot be read (No such file or directory); make keys with: posestream keygen keys"),
        ),
    ],
)
def test_an_invalid_address_or_key_raises_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TransportError) as caught:
        Subscriber(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ([], "subscriber: no camera is selected; name one, or leave out camera= for all"),
        (
            ["hall", " "],
            (
                "subscriber: the camera name ' ' is blank or has characters that cannot be printed; "
                "name a camera of the publisher, or leave out camera= for all"
            ),
        ),
    ],
)
def test_a_name_that_no_camera_has_is_refused(camera: list[str], message: str) -> None:
    with pytest.raises(PropertyError) as caught:
        Subscriber(camera=camera)
    assert str(caught.value) == message


def test_sink_and_subscriber_have_the_same_default_address() -> None:
    assert KeypointSink().bind == Subscriber.__init__.__defaults__[0]  # type: ignore[index]


# -- lost snapshots ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 2, 3], ids=["a skeleton", "and poses", "all"])
def test_a_snapshot_that_the_publisher_dropped_is_asked_for_again(
    lost: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ZeroMQ drops what a client has no room for, and tells the publisher that it was sent."""
    send, left = Publisher._send_if_room, iter(range(lost))

    def lose_snapshots(publisher: Publisher, topic: str, payload: bytes) -> bool:
        is_lost = topics.parse_snapshot_topic(topic) is not None and next(left, None) is not None
        return is_lost or send(publisher, topic, payload)

    monkeypatch.setattr(Publisher, "_send_if_room", lose_snapshots)
    with open_sink() as sink:
        sink.consume(make_poses(7, "hall"))
        with Subscriber(sink.endpoint, camera="hall") as client:
            message = client.poll(TIMEOUT_S)
            assert message is not None
            assert (message.frame_seq, message.joints[:1], message.retained) == (7, ("nose",), True)
            assert client.statistics.total == Counts(messages=1)
    assert caplog.messages[0] == (
        f"subscriber of {client.address}: no whole snapshot of poses/hall has arrived, since too much waited for this "
        "subscriber; it asks again"
    )
