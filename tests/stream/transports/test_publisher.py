"""The publishing socket alone, with arbitrary payloads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from stream.transports.publisher import Publisher
from tests.stream.publishing import TIMEOUT_S, open_client, wait_until


def make_snapshot(topic: str) -> list[bytes]:
    """The answer to a subscription."""
    return [b"first", b"second"] if topic.startswith("ask") else []


def open_publisher(heartbeat_ms: int = 20, address: str = "tcp://127.0.0.1:*") -> Publisher:
    return Publisher(address, snapshot=make_snapshot, heartbeat=lambda: ("beat", b"alive"), heartbeat_ms=heartbeat_ms)


def test_the_endpoint_has_the_chosen_port() -> None:
    with open_publisher() as one, open_publisher() as other:
        ports = {publisher.endpoint.rpartition(":")[2] for publisher in (one, other)}
        assert len(ports) == 2
        assert all(port.isdecimal() for port in ports)


def test_messages_reach_the_subscribers_of_a_prefix_of_their_topic() -> None:
    with open_publisher() as publisher, open_client(publisher.endpoint, "a/", "ask") as client:
        assert client.recv_multipart() == [b"ask", b"first"]
        assert client.recv_multipart() == [b"ask", b"second"]
        publisher.publish("b/1", b"not for you")
        publisher.publish("a/1", b"for you")
        assert client.recv_multipart() == [b"a/1", b"for you"]
        assert publisher.statistics().published == 2
        assert publisher.statistics().snapshots == 1


def test_heartbeats_are_sent_by_a_thread() -> None:
    with open_publisher() as publisher, open_client(publisher.endpoint, "beat") as client:
        for _ in range(3):
            assert client.recv_multipart() == [b"beat", b"alive"]
        assert publisher.statistics().heartbeats >= 3


def test_several_threads_may_publish_and_each_keeps_its_order() -> None:
    with (
        open_publisher(heartbeat_ms=60_000) as publisher,
        open_client(publisher.endpoint, "t", "ask", rcvhwm=0) as client,
    ):
        client.recv_multipart()
        client.recv_multipart()

        def count(name: str) -> None:
            for number in range(60):  # fewer in all than the 256 that wait for a slow client
                publisher.publish(name, b"%d" % number)

        threads = [threading.Thread(target=count, args=(f"t{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        got: dict[bytes, list[int]] = {}
        for _ in range(240):
            topic, payload = client.recv_multipart()
            got.setdefault(topic, []).append(int(payload))
        assert got == {b"t%d" % number: list(range(60)) for number in range(4)}


def test_closing_sends_published_messages_and_is_idempotent() -> None:
    publisher = open_publisher()
    with open_client(publisher.endpoint, "a/", "ask", rcvtimeo=round(TIMEOUT_S * 1000)) as client:
        client.recv_multipart()
        client.recv_multipart()
        for number in range(100):
            publisher.publish("a/", b"%d" % number)
        publisher.close()
        publisher.close()
        assert [int(client.recv_multipart()[1]) for _ in range(100)] == list(range(100))


def test_a_new_subscriber_finds_a_publisher_whose_path_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "poses.sock"
    with open_publisher(address=f"ipc://{path}") as publisher, open_client(publisher.endpoint, "beat") as first:
        first.recv_multipart()
        path.unlink()
        with open_client(publisher.endpoint, "ask") as second:
            assert second.recv_multipart() == [b"ask", b"first"]
        while first.poll(0):
            first.recv_multipart()
        assert first.recv_multipart() == [b"beat", b"alive"], "the connections that exist are kept"
    assert not path.exists()


def test_its_thread_ends_on_close() -> None:
    before = threading.active_count()
    with open_publisher():
        assert threading.active_count() > before
    wait_until(lambda: threading.active_count() == before, "its thread ended")


def test_a_snapshot_larger_than_the_queue_of_a_client_is_complete() -> None:
    messages = [bytes([number]) * 64_000 for number in range(150)]
    with (
        Publisher(
            "tcp://127.0.0.1:*",
            snapshot=lambda topic: messages if topic == "ask" else [],
            heartbeat=lambda: ("beat", b""),
            max_waiting=32,
        ) as publisher,
        open_client(publisher.endpoint, "ask", rcvhwm=1, rcvbuf=64_000) as client,
    ):
        assert client.recv_multipart()[1] == messages[0]
        time.sleep(0.2)  # it does not keep up
        assert [client.recv_multipart()[1] for _ in messages[1:]] == messages[1:]
        wait_until(lambda: publisher.statistics().snapshots == 1, "the snapshot is complete")
