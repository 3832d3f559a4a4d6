"""A subscription survives whatever else listens for a while on the publisher's address, and says what that was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import zmq

from stream.errors import SilenceError
from stream.protocol.schema import MAX_MESSAGE_BYTES
from stream.protocol.subscriber import Subscriber
from stream.testing import make_poses
from stream.transports.curve import generate_keys
from stream.transports.subscription import Subscription
from tests.stream.publishing import TIMEOUT_S, open_sink, wait_until
from tests.stream.transports.impostors import CURVE_GREETING, NULL_GREETING, impostor

NO_PUBLISHER = "what listens there is no keypointsink; check the address"
CLOSES = (
    "it closes the connection: it is no keypointsink, requires CURVE keys (server_key=), "
    "or has max_subscribers= already"
)


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (b"", CLOSES),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSES),
        (bytes(200), NO_PUBLISHER),
        (NULL_GREETING + b"\x07garbage" * 20, NO_PUBLISHER),
        (CURVE_GREETING, "it requires CURVE keys; give server_key= (its .key file)"),
    ],
)
def test_after_another_program_on_its_port_it_hears_the_publisher(
    reply: bytes, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    with impostor(reply) as port:
        address = f"tcp://127.0.0.1:{port}"
        subscriber = Subscriber(address, timeout_s=0.01)
        wait_until(lambda: subscriber.poll(0.01) or subscriber.refusal, "it is refused")
        with pytest.raises(SilenceError) as caught:
            next(subscriber)
        assert str(caught.value) == f"nothing for 0.01 s: {address} refuses this subscriber: {refusal}"
    with subscriber, open_sink(bind=address) as sink:
        sink.consume(make_poses(0))
        assert subscriber.poll(TIMEOUT_S) is not None
        wait_until(lambda: not subscriber.refusal, "it is not refused any more")
    assert f"subscriber of {address} is refused: {refusal}" in [record.getMessage() for record in caplog.records]


def test_after_a_message_that_is_too_long_it_connects_again() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as false:
        false.linger = 0
        false.setsockopt(zmq.XPUB_VERBOSE, 1)
        address = f"tcp://127.0.0.1:{false.bind_to_random_port('tcp://127.0.0.1')}"
        subscription = Subscription(address, ["a/"], max_bytes=MAX_MESSAGE_BYTES)

        def has_subscribed() -> bool:
            return not subscription.poll(10) and bool(false.poll(10)) and false.recv() == b"\1a/"

        wait_until(has_subscribed, "it has subscribed")
        false.send(b"a/" + bytes(MAX_MESSAGE_BYTES))
        wait_until(lambda: not subscription.poll(10) and subscription.refusal, "it is refused")
        assert subscription.refusal == "it sent what this protocol forbids, such as a message that is too long"
        wait_until(has_subscribed, "it is back")
        false.send(b"a/" + bytes(MAX_MESSAGE_BYTES - 2))
        wait_until(lambda: subscription.poll(10), "a message arrives")
        subscription.close()


def test_a_key_that_is_unknown_wrong_or_missing_is_the_reason_given(tmp_path: Path) -> None:
    generate_keys(tmp_path / "keys")
    generate_keys(tmp_path / "stranger", ("server", "stranger"))
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed/client.key").write_bytes((tmp_path / "keys/client.key").read_bytes())
    stranger = tmp_path / "stranger/stranger.key_secret"
    with open_sink(keys=str(tmp_path / "keys/server.key_secret"), clients=str(tmp_path / "allowed")) as sink:
        assert refusal(sink.endpoint).startswith("it requires CURVE keys")
        found = refusal(sink.endpoint, server_key=tmp_path / "keys/server.key", client_key=stranger)
        assert found.startswith("it does not know this key")
        assert refusal(sink.endpoint, server_key=tmp_path / "stranger/server.key").startswith(
            "it closes the connection"
        )
    with open_sink() as sink:
        assert refusal(sink.endpoint, server_key=tmp_path / "keys/server.key").startswith("it uses no keys")


def refusal(address: str, **keys: Path) -> str:
    """The most exact reason for which a subscriber with these keys is refused."""
    with Subscriber(address, **keys) as subscriber:  # type: ignore[arg-type]
        wait_until(lambda: subscriber.poll(0.01) or subscriber.refusal, "it is refused")
        until_s, reason = time.monotonic() + 3, ""
        # The publisher may close a connection before its greeting was read, which a later attempt then reads.
        while time.monotonic() < until_s and (not reason or reason.startswith("it closes")):
            reason = str(subscriber.poll(0.05) or subscriber.refusal)
    return reason


def test_a_slow_reader_keeps_its_connection() -> None:
    with open_sink() as sink, Subscriber(sink.endpoint, max_waiting=2) as slow:
        sink.consume(make_poses(0))
        assert slow.poll(TIMEOUT_S) is not None
        assert slow._subscription._socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
        assert slow._subscription._socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
