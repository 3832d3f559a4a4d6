"""Who may listen to a keypointsink, what it refuses to bind, and what strangers may throw at it."""

from __future__ import annotations

import socket as network
from pathlib import Path

import numpy as np
import pytest
import zmq

from stream.elements.keypointsink import KeypointSink
from stream.errors import PosestreamError, PropertyError, TransportError, WireError
from stream.messages import Poses
from stream.protocol.subscriber import Subscriber
from stream.registry import make
from stream.testing import make_poses
from stream.transports.curve import generate_keys
from tests.stream.publishing import PATIENCE_S, greeted, opened, wait_until


@pytest.mark.parametrize("clients", [False, True])
def test_with_keys_only_those_who_hold_them_hear_anything(tmp_path: Path, clients: bool) -> None:
    generate_keys(tmp_path / "keys")
    generate_keys(tmp_path / "stranger", ("stranger",))
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed/client.key").write_bytes((tmp_path / "keys/client.key").read_bytes())
    allowed = {"clients": str(tmp_path / "allowed")} if clients else {}
    server = tmp_path / "keys/server.key"
    with opened(keys=str(tmp_path / "keys/server.key_secret"), **allowed) as sink:
        sink.consume(make_poses(0))
        with Subscriber(sink.endpoint, server_key=server, client_key=tmp_path / "keys/client.key_secret") as friend:
            assert friend.poll(PATIENCE_S) is not None
        with (
            Subscriber(sink.endpoint) as plain,
            Subscriber(
                sink.endpoint, server_key=server, client_key=tmp_path / "stranger/stranger.key_secret"
            ) as stranger,
        ):
            # Time enough: the friend, who came over the same way, was answered within this by far.
            assert plain.poll(0.5) is None
            assert (stranger.poll(0.5) is None) == clients


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://192.168.1.20:5570", "tcp://eth0:5570"])
def test_it_refuses_to_leave_this_host_without_keys(bind: str) -> None:
    with pytest.raises(TransportError) as caught:
        make("keypointsink", bind=bind)
    assert str(caught.value) == (
        f"keypointsink: {bind} leaves this host, where anybody may listen; "
        "give keys, or bind to 127.0.0.1 (make them with: posestream keygen keys)"
    )


@pytest.mark.parametrize("bind", ["tcp://localhost:*", "tcp://127.1.2.3:*", "tcp://[::1]:*", "ipc://{tmp}/poses.sock"])
def test_it_publishes_on_every_kind_of_address_of_this_host(tmp_path: Path, bind: str) -> None:
    if "[" in bind and not ipv6_works():
        pytest.skip("this machine has no IPv6 loopback address")
    with opened(bind=bind.replace("{tmp}", str(tmp_path))) as sink, Subscriber(sink.endpoint) as subscriber:
        sink.consume(make_poses(0))
        assert subscriber.poll(PATIENCE_S) is not None


def ipv6_works() -> bool:
    try:
        with network.socket(network.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_in_use_is_said_in_one_line() -> None:
    with opened() as sink:
        with pytest.raises(TransportError) as caught:
            KeypointSink(bind=sink.endpoint).__enter__()
        assert str(caught.value) == (
            f"keypointsink cannot bind {sink.endpoint}: the port is in use; "
            "stop the other publisher or give another port, bind=tcp://HOST:PORT"
        )


@pytest.mark.parametrize(
    ("properties", "kind", "message"),
    [
        (
            {"bind": "127.0.0.1:5570"},
            TransportError,
            "keypointsink: '127.0.0.1:5570' is not an address; write tcp://HOST:PORT or ipc://PATH",
        ),
        (
            {"clients": "keys/clients"},
            PropertyError,
            "keypointsink: clients=keys/clients says who is let in, which needs keys= as well",
        ),
        (
            {"bind": "tcp://203.0.113.7:5570", "keys": "{keys}"},
            TransportError,
            (
                "keypointsink cannot bind tcp://203.0.113.7:5570: this host has no such address; "
                "give one of its own, or * for all"
            ),
        ),
        (
            {"bind": "tcp://127.0.0.1:*", "keys": "{keys}", "clients": "{tmp}/nobody"},
            TransportError,
            "keypointsink: no public keys (*.key) in {tmp}/nobody; put those of the subscribers there",
        ),
    ],
)
def test_what_cannot_be_bound_is_refused_in_one_line(
    tmp_path: Path, properties: dict[str, str], kind: type[PosestreamError], message: str
) -> None:
    (secret, _) = generate_keys(tmp_path)
    filled = {key: value.format(keys=secret, tmp=tmp_path) for key, value in properties.items()}
    with pytest.raises(kind) as caught:
        KeypointSink(**filled).__enter__()  # type: ignore[arg-type]
    assert str(caught.value) == message.format(tmp=tmp_path)


def test_a_camera_name_too_long_to_remember_is_refused() -> None:
    with opened() as sink, pytest.raises(PropertyError) as caught:
        sink.consume(make_poses(0, "h" * 81))
    assert str(caught.value) == (
        "keypointsink: the camera name 'hhhhhhhhhhhhhhhhhhhh'… has 81 bytes; give one of at most 80, camera=NAME"
    )


def test_a_pose_that_is_no_number_costs_no_number() -> None:
    bad: Poses = make_poses(1)
    bad.keypoints[0, 0, 0] = np.inf
    with opened() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: greeted(sink), "the client was heard")
        sink.consume(make_poses(0))
        with pytest.raises(WireError):
            sink.consume(bad)
        sink.consume(make_poses(2))
        found = [subscriber.poll(PATIENCE_S), subscriber.poll(PATIENCE_S)]
        assert [(message.seq, message.frame_seq) for message in found if message] == [(0, 0), (1, 2)]


# -- hostile bytes -----------------------------------------------------------------------------------------------------


def test_what_strangers_send_is_dropped_and_others_go_on_hearing() -> None:
    dice = np.random.default_rng(7)
    with opened() as sink, Subscriber(sink.endpoint) as subscriber:
        wait_until(lambda: greeted(sink), "the healthy one was heard")
        with zmq.Context() as context, context.socket(zmq.XSUB) as stranger:
            stranger.linger = 5000
            stranger.connect(sink.endpoint)
            stranger.sndhwm = 0
            noise = dice.bytes(100_040)
            for number in range(100_000):
                first = bytes([number % 3])  # 1 subscribes, 0 unsubscribes, 2 is nothing at all
                stranger.send(first + noise[number : number + number % 40])
            assert sink._publisher is not None
            # Every third message is no subscription, and of those that are some are not UTF-8.
            wait_until(lambda: sink._publisher.statistics().malformed >= 33_333, "noise was counted")  # type: ignore[union-attr]
            host, port = sink.endpoint.removeprefix("tcp://").split(":")
            for _ in range(50):
                with network.create_connection((host, int(port))) as raw:
                    raw.sendall(dice.bytes(200))
            sink.consume(make_poses(0))
            assert subscriber.poll(PATIENCE_S) is not None
