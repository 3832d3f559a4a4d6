"""Access to a ``keypointsink``: keys, addresses it refuses, and hostile clients."""

from __future__ import annotations

import socket as network
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from stream.elements.keypointsink import KeypointSink
from stream.errors import PosestreamError, PropertyError, TransportError, WireError
from stream.messages import Poses
from stream.protocol.subscriber import Subscriber
from stream.registry import make
from stream.runtime.meter import resident_bytes
from stream.testing import make_poses
from stream.transports.curve import generate_keys
from stream.transports.peers import MAX_STRAY
from stream.transports.publisher import Publisher
from tests.stream.publishing import (
    TIMEOUT_S,
    count_snapshots,
    open_raw_client,
    open_sink,
    raw_message,
    wait_until,
)


@pytest.mark.parametrize("clients", [False, True])
def test_with_keys_only_their_holders_receive_messages(tmp_path: Path, clients: bool) -> None:
    generate_keys(tmp_path / "keys")
    generate_keys(tmp_path / "stranger", ("stranger",))
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed/client.key").write_bytes((tmp_path / "keys/client.key").read_bytes())
    allowed = {"clients": str(tmp_path / "allowed")} if clients else {}
    server = tmp_path / "keys/server.key"
    with open_sink(keys=str(tmp_path / "keys/server.key_secret"), **allowed) as sink:
        sink.consume(make_poses(0))
        with Subscriber(sink.endpoint, server_key=server, client_key=tmp_path / "keys/client.key_secret") as client:
            assert client.poll(TIMEOUT_S) is not None
        with (
            Subscriber(sink.endpoint) as plain,
            Subscriber(
                sink.endpoint, server_key=server, client_key=tmp_path / "stranger/stranger.key_secret"
            ) as stranger,
        ):
            # The first client was answered in much less time than this.
            assert plain.poll(0.5) is None
            assert (stranger.poll(0.5) is None) == clients


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://192.168.1.20:5570", "tcp://eth0:5570"])
def test_it_refuses_to_bind_beyond_loopback_without_keys(bind: str) -> None:
    with pytest.raises(TransportError) as caught:
        make("keypointsink", bind=bind)
    assert str(caught.value) == (
        f"keypointsink: {bind} is reachable from other hosts and there are no CURVE keys; "
        "set keys=, or bind to 127.0.0.1 (make keys with: posestream keygen keys)"
    )


@pytest.mark.parametrize("bind", ["tcp://localhost:*", "tcp://127.1.2.3:*", "tcp://[::1]:*", "ipc://{tmp}/poses.sock"])
def test_it_publishes_on_every_kind_of_local_address(tmp_path: Path, bind: str) -> None:
    if "[" in bind and not ipv6_works():
        pytest.skip("this machine has no IPv6 loopback address")
    with open_sink(bind=bind.replace("{tmp}", str(tmp_path))) as sink, Subscriber(sink.endpoint) as subscriber:
        sink.consume(make_poses(0))
        assert subscriber.poll(TIMEOUT_S) is not None


def ipv6_works() -> bool:
    try:
        with network.socket(network.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_in_use_raises_in_one_line() -> None:
    with open_sink() as sink:
        with pytest.raises(TransportError) as caught:
            KeypointSink(bind=sink.endpoint).__enter__()
        assert str(caught.value) == (
            f"keypointsink cannot listen on {sink.endpoint}: the port is in use; "
            "stop the program that uses it or choose another port"
        )


@pytest.mark.parametrize(
    ("properties", "kind", "message"),
    [
        (
            {"bind": "127.0.0.1:5570"},
            TransportError,
            "keypointsink: '127.0.0.1:5570' is not an address; write ipc://PATH or tcp://HOST:PORT",
        ),
        (
            {"clients": "keys/clients"},
            PropertyError,
            "keypointsink: clients=keys/clients has no effect without keys=; set keys= as well",
        ),
        (
            {"bind": "tcp://203.0.113.7:5570", "keys": "{keys}"},
            TransportError,
            (
                "keypointsink cannot listen on tcp://203.0.113.7:5570: this host has no such address; "
                "choose one of its own, or * for all"
            ),
        ),
        (
            {"bind": "tcp://127.0.0.1:*", "keys": "{keys}", "clients": "{tmp}/empty"},
            TransportError,
            "keypointsink: no public keys (*.key) in {tmp}/empty; put those of the subscribers there",
        ),
    ],
)
def test_an_unusable_address_raises_in_one_line(
    tmp_path: Path, properties: dict[str, str], kind: type[PosestreamError], message: str
) -> None:
    (secret, _) = generate_keys(tmp_path)
    filled = {key: value.format(keys=secret, tmp=tmp_path) for key, value in properties.items()}
    with pytest.raises(kind) as caught:
        KeypointSink(**filled).__enter__()  # type: ignore[arg-type]
    assert str(caught.value) == message.format(tmp=tmp_path)


def test_a_camera_name_that_is_too_long_raises() -> None:
    with open_sink() as sink, pytest.raises(PropertyError) as caught:
        sink.consume(make_poses(0, "h" * 81))
    assert str(caught.value) == (
        "keypointsink: the camera name 'hhhhhhhhhhhhhhhhhhhh'… has 81 bytes; set camera= to a name of at most 80"
    )


@pytest.mark.parametrize("camera", ["", " ", "hall\n", "ha\0ll", "\x1b[31mhall"])
def test_a_camera_name_that_cannot_be_printed_raises(camera: str) -> None:
    with pytest.raises(PropertyError) as caught:
        KeypointSink().check_camera(camera)
    assert str(caught.value) == (
        f"keypointsink: the camera name {camera!r} is blank or has characters that cannot be printed; "
        "set camera= to another one"
    )
    KeypointSink().check_camera("Straße 5/Hof, Süd")


def test_a_message_over_the_limit_raises_and_uses_no_message_number() -> None:
    with open_sink() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        sink.consume(make_poses(0, "hall"))
        with pytest.raises(
            WireError, match=r"of camera 'hall' has \d{7} bytes; protocol 1 allows 4194304: estimate fewer"
        ):
            sink.consume(make_poses(1, "hall", count=20_000))
        sink.consume(make_poses(2, "hall"))
        found = [subscriber.poll(TIMEOUT_S), subscriber.poll(TIMEOUT_S)]
        assert [(message.seq, message.frame_seq) for message in found if message] == [(0, 0), (1, 2)]


def test_a_pose_with_nan_uses_no_message_number() -> None:
    bad: Poses = make_poses(1)
    bad.keypoints[0, 0, 0] = np.inf
    with open_sink() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the client has subscribed")
        sink.consume(make_poses(0))
        with pytest.raises(WireError):
            sink.consume(bad)
        sink.consume(make_poses(2))
        found = [subscriber.poll(TIMEOUT_S), subscriber.poll(TIMEOUT_S)]
        assert [(message.seq, message.frame_seq) for message in found if message] == [(0, 0), (1, 2)]


# -- hostile bytes -----------------------------------------------------------------------------------------------------


def malformed(sink: KeypointSink) -> int:
    assert isinstance(sink._publisher, Publisher)
    return sink._publisher.statistics().malformed


def refused(sink: KeypointSink) -> int:
    assert isinstance(sink._publisher, Publisher)
    return sink._publisher.statistics().refused


@contextmanager
def open_stranger(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket that may send a publisher anything."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as socket:
        socket.linger = socket.sndhwm = 0
        socket.connect(endpoint)
        yield socket


def test_after_hostile_messages_others_still_receive_and_the_sender_is_disconnected() -> None:
    dice = np.random.default_rng(7)
    with open_sink() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the healthy client has subscribed")
        with open_stranger(sink.endpoint) as stranger:
            noise = dice.bytes(10_040)
            for number in range(10_000):
                first = bytes([number % 3])  # 1 subscribes, 0 unsubscribes, 2 is invalid
                stranger.send(first + noise[number : number + number % 40])
            # Every third message is not a subscription, and some of the subscriptions are not UTF-8.
            wait_until(lambda: malformed(sink) > MAX_STRAY and refused(sink), "noise was counted")
            host, port = sink.endpoint.removeprefix("tcp://").split(":")
            for _ in range(50):
                with network.create_connection((host, int(port))) as raw:
                    raw.sendall(dice.bytes(200))
            sink.consume(make_poses(0))
            assert subscriber.poll(TIMEOUT_S) is not None
            assert subscriber.statistics.total.lost == 0


@pytest.mark.parametrize("topic_bytes", [16, 400, 4000])
def test_any_number_of_subscriptions_takes_bounded_memory(topic_bytes: int) -> None:
    with open_sink() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the healthy client has subscribed")
        before = resident_bytes()
        for _ in range(2):
            with open_raw_client(sink.endpoint) as stranger, suppress(OSError):
                stranger.settimeout(1.0)  # its system may not learn at once that it is disconnected
                for number in range(20_000):
                    stranger.sendall(raw_message(b"\1poses/%06d" % number + bytes(topic_bytes)))
        for seq in range(20):
            sink.consume(make_poses(seq))
            assert subscriber.poll(TIMEOUT_S) is not None
        # 20,000 topics of 400 bytes would take 380 MiB.
        assert resident_bytes() - before < 96 * 2**20


def test_connections_are_bounded_also_those_that_never_finish_their_handshake() -> None:
    with open_sink(max_subscribers=20) as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: count_snapshots(sink), "the healthy client has subscribed")
        host, port = sink.endpoint.removeprefix("tcp://").split(":")
        with ExitStack() as opened:
            connections = [opened.enter_context(network.create_connection((host, int(port)))) for _ in range(60)]
            wait_until(lambda: refused(sink) == 41, "those beyond the limit are disconnected")
            assert sum(map(is_closed, connections)) == 41
            sink.consume(make_poses(0))
            assert subscriber.poll(TIMEOUT_S) is not None
        with Subscriber(sink.endpoint) as late:
            wait_until(lambda: late.poll(0.01), "there is room again")


def is_closed(connection: network.socket) -> bool:
    """True if the other side has ended the connection."""
    connection.settimeout(0.05)
    try:
        while connection.recv(1000):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_revoked_key_is_disconnected_and_not_admitted_again(tmp_path: Path) -> None:
    generate_keys(tmp_path, ("server", "one", "other"))
    server, clients = tmp_path / "server.key", tmp_path / "clients"
    clients.mkdir()
    for name in ("one", "other"):
        (tmp_path / f"{name}.key").rename(clients / f"{name}.key")
    with (
        open_sink(keys=str(tmp_path / "server.key_secret"), clients=str(clients)) as sink,
        Subscriber(sink.endpoint, server_key=server, client_key=tmp_path / "one.key_secret") as one,
        Subscriber(sink.endpoint, server_key=server, client_key=tmp_path / "other.key_secret") as other,
    ):
        wait_until(lambda: count_snapshots(sink) == 2, "both have subscribed")
        (clients / "one.key").unlink()
        wait_until(lambda: one.poll(0.01) or one.refusal.startswith("it does not know this key"), "one is refused")
        sink.consume(make_poses(0))
        assert other.poll(TIMEOUT_S) is not None
        assert one.poll(0.2) is None
