"""The limits of a publisher's clients, without sockets."""

from __future__ import annotations

import os
import shutil
import socket as network
from pathlib import Path

import pytest

from stream.transports import peers
from stream.transports.curve import generate_keys, load_public
from stream.transports.peers import AllowedKeys, Peers, disconnect


def make_peers(*descriptors: int, max_peers: int = 10) -> tuple[Peers, list[int]]:
    ended: list[int] = []
    found = Peers(max_peers, ended.append, "keypointsink")
    for descriptor in descriptors:
        found.connect(descriptor)
    return found, ended


def test_subscriptions_within_the_limits_are_taken_and_given_back() -> None:
    clients, ended = make_peers(7)
    for round_ in range(3):
        for number in range(peers.MAX_TOPICS):
            assert clients.subscribe(7, b"%d/%d" % (round_, number))
        assert clients.subscribe(7, b"%d/0" % round_)  # again: stored once
        for number in range(peers.MAX_TOPICS):
            clients.unsubscribe(7, b"%d/%d" % (round_, number))
    clients.unsubscribe(7, b"never subscribed")
    assert (clients.topics_bytes, len(clients), ended) == (0, 1, [])


@pytest.mark.parametrize(
    "topics",
    [
        [b"t" * (peers.MAX_TOPIC_BYTES + 1)],
        [b"%d" % number for number in range(peers.MAX_TOPICS + 1)],
        [b"%03d" % number + b"t" * 509 for number in range(peers.MAX_TOPICS_BYTES // 512 + 1)],
    ],
)
def test_a_client_over_a_limit_is_disconnected_and_its_topics_are_forgotten(
    topics: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    clients, ended = make_peers(7, 8)
    assert [clients.subscribe(7, topic) for topic in topics] == [True] * (len(topics) - 1) + [False]
    assert not clients.subscribe(7, b"more")
    assert (ended, clients.topics_bytes, clients.refused) == ([7], 0, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "keypointsink disconnected a client: a client subscribed to more, or longer, topics than the protocol allows"
    ]


def test_above_the_limit_of_all_clients_the_one_with_the_most_is_disconnected() -> None:
    clients, ended = make_peers(*range(100), max_peers=100)
    assert clients.subscribe(99, b"poses/hall")
    for descriptor in range(60):
        for number in range(40):
            clients.subscribe(descriptor, b"%03d" % number + b"t" * 497)
        assert clients.topics_bytes <= peers.MAX_ALL_TOPICS_BYTES
    assert ended
    assert 99 not in ended


def test_connections_beyond_the_limit_are_ended_and_a_free_place_is_given_again() -> None:
    clients, ended = make_peers(*range(12), max_peers=10)
    assert ended == [10, 11]
    clients.disconnected(3)
    clients.connect(12)
    assert (len(clients), ended) == (10, [10, 11])


def test_a_client_that_sends_what_is_no_subscription_is_disconnected() -> None:
    clients, ended = make_peers(7)
    for _ in range(peers.MAX_STRAY):
        clients.count_stray(7)
    assert ended == []
    clients.count_stray(7)
    clients.count_stray(-1)
    assert ended == [7]


def test_clients_with_a_revoked_key_are_disconnected() -> None:
    clients, ended = make_peers(7, 8, 9)
    for descriptor, key in ((7, "one"), (8, "other"), (9, "")):
        clients.subscribe(descriptor, b"poses/", key)
    clients.revoke(lambda key: key == b"one")
    assert ended == [8]


def test_keys_are_read_again_when_their_folder_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    generate_keys(tmp_path, ("one", "other"))
    one, other = (load_public(tmp_path / f"{name}.key") for name in ("one", "other"))
    keys = AllowedKeys(tmp_path, "keypointsink")
    assert keys.callback("", one)
    assert keys.is_allowed(other)
    assert not keys.refresh()
    (tmp_path / "one.key").unlink()
    assert keys.refresh()
    assert (keys.is_allowed(one), keys.is_allowed(other)) == (False, True)
    (tmp_path / "third.key").write_text("half a ke")
    assert not keys.refresh()
    assert "third.key cannot be read" in caplog.text
    for file in tmp_path.iterdir():
        file.unlink()
    assert keys.refresh()
    assert not keys.is_allowed(other)


@pytest.mark.parametrize("time_ns", [0, 1, 10**18])
def test_a_key_that_is_replaced_by_one_of_the_same_time_is_admitted_in_its_place(tmp_path: Path, time_ns: int) -> None:
    generate_keys(tmp_path / "all", ("one", "other"))
    one, other = (load_public(tmp_path / f"all/{name}.key") for name in ("one", "other"))
    admitted = tmp_path / "clients/x.key"
    admitted.parent.mkdir()

    def place(name: str) -> None:
        shutil.copy(tmp_path / f"all/{name}.key", admitted)
        os.utime(admitted, ns=(time_ns, time_ns))

    place("one")
    keys = AllowedKeys(admitted.parent, "keypointsink")
    assert (keys.is_allowed(one), keys.is_allowed(other)) == (True, False)
    place("other")
    assert keys.refresh()
    assert (keys.is_allowed(one), keys.is_allowed(other)) == (False, True)


@pytest.mark.parametrize("is_ours", [True, False])
def test_only_a_connection_to_the_own_address_is_ended(is_ours: bool) -> None:
    with network.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with network.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as accepted:
            disconnect(accepted.fileno(), f"tcp://0.0.0.0:{port if is_ours else port + 1}")
            client.settimeout(0.05)
            if is_ours:
                assert client.recv(1) == b""
            else:
                with pytest.raises(TimeoutError):
                    client.recv(1)


def test_a_descriptor_that_is_closed_or_no_socket_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        disconnect(file.fileno(), "tcp://127.0.0.1:5570")
        file.write("still open")
    disconnect(os.sysconf("SC_OPEN_MAX") - 1, "tcp://127.0.0.1:5570")
