"""A relay between lines and subscribers, over sockets."""

from __future__ import annotations

import socket as network
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import zmq

from stream.element import Context
from stream.elements.keypointsink import KeypointSink
from stream.elements.testsrc import Testsrc
from stream.errors import PosestreamError, StartError, TransportError
from stream.protocol import relay_publisher
from stream.protocol.pictures import PictureSubscriber
from stream.protocol.relay_server import RelayServer
from stream.protocol.subscriber import Subscriber
from stream.testing import make_poses
from stream.transports.curve import Keys, generate_keys
from stream.transports.peers import MAX_STRAY
from tests.stream.publishing import TIMEOUT_S, open_client, wait_until
from tests.stream.relaying import ANY, RunningRelay, open_line, open_relay

FILES = Testsrc(num_frames=3)  # which waits for the line, as a file does


def read(subscriber: Subscriber, count: int) -> list[tuple[str, int]]:
    """The cameras and frames of the next messages."""
    found: list[tuple[str, int]] = []
    for _ in range(count):
        message = subscriber.poll(TIMEOUT_S)
        assert message is not None, found
        found.append((message.camera, message.frame_seq))
    return found


def test_subscribers_receive_the_cameras_of_several_lines_at_one_address() -> None:
    with open_relay() as relay, Subscriber(relay.bind) as early, open_line(relay) as one, open_line(relay) as two:
        wait_until(lambda: early.poll() or early.alive, "the first subscriber has joined")
        for seq in range(3):
            one.consume(make_poses(seq, "hall"))
            two.consume(make_poses(seq, "yard"))
        assert sorted(read(early, 6)) == [(camera, seq) for camera in ("hall", "yard") for seq in range(3)]
        with Subscriber(relay.bind) as late, Subscriber(relay.bind, camera="yard") as chosen:
            assert sorted(read(late, 2)) == [("hall", 2), ("yard", 2)]
            assert read(chosen, 1) == [("yard", 2)]
            assert late.skeletons.keys() == {"coco17"}
        two.flush()
        with Subscriber(relay.bind, camera="yard", until_end=True) as ending:
            assert [message.frame_seq for message in ending] == [2]
        assert early.statistics.total.lost == 0
        assert early.statistics.sessions == 1


def test_a_relay_that_restarts_is_said_to_be_away_and_back_once_with_what_was_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    relay = RunningRelay()
    with open_line(relay) as sink:
        sink.consume(make_poses(0, "hall"))
        relay.stop()
        wait_until(sink.status, "the relay is away")
        for seq in range(1, 4):
            sink.consume(make_poses(seq, "hall"))
        assert sink.status() == f"relay {relay.publishers} is away, 3 messages dropped"
        with open_relay(relay.bind, relay.publishers) as again, Subscriber(again.bind) as subscriber:
            wait_until(lambda: "away" not in sink.status(), "the relay is back")
            wait_until(lambda: subscriber.poll() or subscriber.alive, "the subscriber has joined")
            sink.consume(make_poses(4, "hall"))
            assert read(subscriber, 1) == [("hall", 4)]
            assert subscriber.statistics.total.lost == 0  # a new session counts from its first message
            said = [text for text in caplog.messages if text.startswith("keypointsink")]
    assert said == [
        f"keypointsink: the relay {relay.publishers} is away; trying again until it is back",
        f"keypointsink: the relay {relay.publishers} is back; 3 messages dropped meanwhile",
    ]


def test_a_line_of_files_waits_for_the_relay_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_publisher, "JOIN_S", 0.0)
    relay = RunningRelay()
    relay.stop()
    sink = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
    sink.set_sources([FILES])
    with sink:
        publishing = threading.Thread(target=lambda: deque(map(sink.consume, map(make_poses, range(3))), 0))
        publishing.start()
        with open_relay(relay.bind, relay.publishers) as again, Subscriber(again.bind) as subscriber:
            assert read(subscriber, 1)[0][1] == 0
            publishing.join()
            wait_until(lambda: again.server.statistics()[0].forwarded == 3, "all were passed on")


def test_a_line_of_files_fails_at_its_end_if_the_relay_has_not_passed_everything_on() -> None:
    with open_relay(rate=2) as relay:
        sink = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
        sink.set_sources([FILES])
        with sink:
            for seq in range(4):
                sink.consume(make_poses(seq, "hall"))
            with pytest.raises(TransportError) as caught:
                sink.flush()
    assert str(caught.value) == (
        f"keypointsink: the relay {relay.publishers} has not passed on 2 of 5 messages; its log says why"
    )


def test_a_receipt_for_one_camera_is_none_for_those_that_follow() -> None:
    with open_relay(rate=2) as relay:
        sink = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
        sink.set_sources([FILES])
        with sink:
            sink.consume(make_poses(0, "hall"))
            sink.end("hall")
            wait_until(lambda: relay.server.statistics()[0].forwarded == 2, "the end was passed on")
            time.sleep(0.2)  # for some heartbeats, each of which has a receipt
            for seq in range(4):
                sink.consume(make_poses(seq, "yard"))
            with pytest.raises(TransportError, match="has not passed on 2 of 7 messages"):
                sink.flush()


def test_a_sink_that_was_restarted_asks_for_its_receipt() -> None:
    memory: dict[str, int] = {}
    with open_relay(rate=2) as relay:
        for incarnation in range(2):
            sink = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
            sink.set_sources([FILES])
            sink.context = Context(memory=memory, incarnation=incarnation)
            with sink:
                if incarnation == 0:
                    for seq in range(4):
                        sink.consume(make_poses(seq, "hall"))
                    sink.end("hall")
                else:
                    with pytest.raises(TransportError, match="has not passed on 2 of 5 messages"):
                        sink.flush()


def test_a_line_of_files_fails_at_its_end_if_the_relay_was_replaced() -> None:
    relay = RunningRelay()
    sink = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
    sink.set_sources([FILES])
    with sink:
        sink.consume(make_poses(0, "hall"))
        relay.stop()
        with open_relay(relay.bind, relay.publishers):
            sink.consume(make_poses(1, "hall"))
            with pytest.raises(TransportError) as caught:
                sink.flush()
    assert str(caught.value) == (
        f"keypointsink: the relay {relay.publishers} has not passed on 1 of 3 messages; its log says why; "
        "what it passed on before it was restarted is not known"
    )


def test_a_line_of_files_that_waits_for_its_camera_loses_nothing() -> None:
    with open_relay() as relay, Subscriber(relay.bind) as subscriber:
        second = KeypointSink(relay=relay.publishers, heartbeat_ms=50)
        second.set_sources([FILES])
        with open_line(relay) as first, second:
            first.consume(make_poses(0, "hall"))
            read(subscriber, 1)

            def publish() -> None:
                for seq in range(10, 13):
                    second.consume(make_poses(seq, "hall"))
                second.flush()

            publishing = threading.Thread(target=publish)
            publishing.start()
            wait_until(second.status, "the second is refused")
            first.end("hall")
            publishing.join()
        assert [frame for _, frame in read(subscriber, 3)] == [10, 11, 12]


def test_a_line_of_files_ends_if_the_relay_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_publisher, "PATIENCE_S", 0.2)
    monkeypatch.setattr(relay_publisher, "JOIN_S", 0.0)
    relay = RunningRelay()
    relay.stop()
    sink = KeypointSink(relay=relay.publishers)
    sink.set_sources([FILES])
    with sink, pytest.raises(StartError) as caught:
        sink.consume(make_poses(0, "hall"))
    assert str(caught.value) == (
        f"keypointsink: the relay {relay.publishers} has taken nothing for 0.2 s; "
        "start 'posestream relay' there, or check the address"
    )


def test_a_line_whose_camera_another_has_says_so_and_takes_over_when_that_one_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_relay() as relay, open_line(relay) as second, Subscriber(relay.bind) as subscriber:
        with open_line(relay) as first:
            first.consume(make_poses(0, "hall"))
            read(subscriber, 1)
            second.consume(make_poses(10, "hall"))
            wait_until(second.status, "the second is refused")
            assert second.status() == "relay refuses hall"
            second.consume(make_poses(11, "hall"))
        wait_until(lambda: "refuses" not in second.status(), "the second is taken")
        second.consume(make_poses(12, "hall"))
        assert read(subscriber, 1) == [("hall", 12)]
    assert any("publishes a camera of this name already; rename one with camera=" in text for text in caplog.messages)
    assert f"keypointsink: the relay {relay.publishers} takes camera 'hall' again" in caplog.messages


def test_a_line_with_an_older_placement_publishes_nothing_after_it_was_replaced_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_publisher, "_REPLACED_S", 0.2)
    with open_relay() as relay, Subscriber(relay.bind) as subscriber, open_line(relay, placement=1) as old:
        old.consume(make_poses(0, "hall"))
        read(subscriber, 1)
        with open_line(relay, placement=2) as new:
            new.consume(make_poses(1, "hall"))
            assert read(subscriber, 1) == [("hall", 1)]
            old.consume(make_poses(2, "hall"))
        wait_until(lambda: "refuses hall" in old.status(), "the older is refused")
        old.consume(make_poses(3, "hall"))
        assert subscriber.poll(0.2) is None
        with pytest.raises(StartError) as caught:
            old.consume(make_poses(4, "hall"))
    assert "refuses camera 'hall': placement 1 of process" in str(caught.value)
    assert "was replaced by process" in str(caught.value)


def test_pictures_are_encoded_only_while_a_subscriber_of_the_relay_wants_them() -> None:
    with open_relay() as relay, open_line(relay, pictures=True) as sink:
        sink.consume(make_poses(0, "hall"))
        assert not sink._publisher.is_wanted("pictures/hall")  # type: ignore[union-attr]
        with PictureSubscriber(relay.bind) as pictures:
            wait_until(lambda: sink._publisher.is_wanted("pictures/hall"), "pictures are wanted")  # type: ignore[union-attr]
            sink.consume(make_poses(1, "hall"))
            picture = pictures.poll(TIMEOUT_S)
            assert picture is not None
            assert (picture.camera, picture.frame_seq) == ("hall", 1)
        wait_until(lambda: not sink._publisher.is_wanted("pictures/hall"), "no more")  # type: ignore[union-attr]


# -- keys --------------------------------------------------------------------------------------------------------------


def make_keys(home: Path) -> None:
    """Keys of a relay, a line, a subscriber and a stranger, and folders with who is admitted."""
    generate_keys(home, ("server", "line", "client", "stranger"))
    for name in ("line", "client"):
        (home / f"{name}s").mkdir()
        (home / f"{name}s/{name}.key").write_bytes((home / f"{name}.key").read_bytes())


def test_with_keys_only_known_lines_publish_and_only_known_subscribers_receive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_publisher, "JOIN_S", 0.3)
    make_keys(tmp_path)
    server_key = tmp_path / "server.key"
    with (
        open_relay(
            keys=Keys.load(tmp_path / "server.key_secret"),
            clients=tmp_path / "clients",
            publisher_keys=tmp_path / "lines",
        ) as relay,
        open_line(relay, relay_key=str(server_key), keys=str(tmp_path / "line.key_secret")) as line,
        open_line(relay, relay_key=str(server_key), keys=str(tmp_path / "client.key_secret")) as client,
        open_line(relay) as plain,
        Subscriber(relay.bind, server_key=server_key, client_key=tmp_path / "client.key_secret") as known,
        Subscriber(relay.bind, server_key=server_key, client_key=tmp_path / "line.key_secret") as stranger,
        Subscriber(relay.bind) as without,
    ):
        line.consume(make_poses(0, "hall"))
        client.consume(make_poses(0, "yard"))
        plain.consume(make_poses(0, "attic"))
        assert read(known, 1) == [("hall", 0)]
        assert stranger.poll(0.2) is None
        assert without.poll() is None
        assert known.cameras == ("hall",)
    refused = "keypointsink: the relay {} refuses this publisher: {}"
    assert (
        refused.format(
            relay.publishers,
            "it does not know this key; put the public key into its --publisher-keys folder, or give keys= another",
        )
        in caplog.messages
    )
    assert (
        refused.format(relay.publishers, "it requires CURVE keys; give relay_key= (its .key file)") in caplog.messages
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"bind": "tcp://0.0.0.0:5570"},
            "relay --bind: tcp://0.0.0.0:5570 is reachable from other hosts and there are",
        ),
        (
            {"publishers": "tcp://*:5571"},
            "relay --publishers: tcp://*:5571 is reachable from other hosts and there are",
        ),
        ({"clients": Path("keys")}, "--clients keys has no effect without --keys; give --keys as well"),
        ({"keys": Keys.generate()}, "everybody who has its public key could publish; give --publisher-keys"),
    ],
)
def test_nothing_listens_beyond_this_host_without_keys_on_both_sides(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TransportError) as caught:
        RelayServer(**{"bind": ANY, "publishers": ANY, **options})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (
            {"relay": "tcp://192.168.1.9:5571"},
            "relay=tcp://192.168.1.9:5571 is another host, which requires CURVE keys",
        ),
        ({"relay": "tcp://127.0.0.1:*"}, "names no host and port"),
        ({"relay": "127.0.0.1"}, "'127.0.0.1' is not an address"),
        ({"relay": "tcp://127.0.0.1:1", "bind": "tcp://127.0.0.1:2"}, "for both, use two keypointsinks behind a tee"),
        ({"relay": "tcp://127.0.0.1:1", "prefix": "a/"}, "give it to the relay (posestream relay --prefix)"),
        (
            {"relay": "tcp://127.0.0.1:1", "keys": "k"},
            "keys=k has no effect with relay=tcp://127.0.0.1:1; set relay_key=",
        ),
        ({"placement": 3}, "placement=3 has no effect without relay=; set relay= as well"),
    ],
)
def test_properties_that_do_not_go_together_are_refused(properties: dict[str, Any], said: str) -> None:
    with pytest.raises(PosestreamError) as caught:
        KeypointSink(**properties)
    assert said in str(caught.value)


# -- who misbehaves ----------------------------------------------------------------------------------------------------


def test_a_stranger_that_sends_what_no_publisher_sends_is_disconnected() -> None:
    with open_relay() as relay, zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.connect(relay.publishers)
        socket.poll(round(TIMEOUT_S * 1000))
        for _ in range(MAX_STRAY + 50):
            socket.send_multipart((b"poses/hall", b"nonsense"))
        wait_until(lambda: relay.server.refused, "it is disconnected")


def test_too_many_publishers_are_refused_and_those_before_stay() -> None:
    with open_relay(max_publishers=1) as relay, open_line(relay) as line, Subscriber(relay.bind) as subscriber:
        host, port = relay.publishers.removeprefix("tcp://").split(":")
        with network.create_connection((host, int(port))):
            wait_until(lambda: relay.server.refused, "it is disconnected")
        line.consume(make_poses(0, "hall"))
        read(subscriber, 1)


def test_a_subscriber_that_does_not_keep_up_loses_its_own_messages_which_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        open_relay(max_waiting=4) as relay,
        open_line(relay) as line,
        open_client(relay.bind, "poses/", rcvhwm=1, rcvbuf=4096) as stuck,
        Subscriber(relay.bind) as reading,
    ):
        line.consume(make_poses(0, "hall"))
        read(reading, 1)
        stuck.poll(round(TIMEOUT_S * 1000))
        seq = 1
        while not relay.server.statistics()[1].overflows:
            line.consume(make_poses(seq, "hall", count=300))
            read(reading, 1)
            seq += 1
        assert reading.statistics.total.lost == 0
        wait_until(lambda: any("does not keep up" in text for text in caplog.messages), "it is said")
