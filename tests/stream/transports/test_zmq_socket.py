"""Sockets are bounded, and their errors are one line each."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import zmq

from stream.errors import TransportError
from stream.transports.curve import Keys
from stream.transports.zmq_socket import Socket, bind_address, close_socket, connect, is_loopback, listen, open_socket


@pytest.fixture
def router() -> Iterator[Socket]:
    socket_ = open_socket(zmq.ROUTER)
    yield socket_
    close_socket(socket_)


def test_a_socket_is_bounded_and_quick_to_close(router: Socket) -> None:
    assert (router.linger, router.sndhwm, router.rcvhwm) == (0, 1000, 1000)
    assert router.getsockopt(zmq.MAXMSGSIZE) == 256 * 1024 * 1024


def test_the_chosen_port_is_returned(router: Socket) -> None:
    address, _ = bind_address(router, "tcp://127.0.0.1:*", "pose", 0.0, is_private=True)
    assert address.startswith("tcp://127.0.0.1:")
    assert int(address.rpartition(":")[2]) > 0


def test_a_host_name_is_resolved(router: Socket) -> None:
    address, _ = bind_address(router, "tcp://localhost:*", "pose", 0.0, is_private=True)
    assert address.startswith("tcp://127.0.0.1:")


def test_a_port_in_use_raises(router: Socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(TransportError) as caught:
            listen(router, address, "link to pose")
    assert str(caught.value) == (
        f"link to pose cannot listen on {address}: the port is in use; "
        "stop the program that uses it or choose another port"
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("people", "'people' is not an address; write ipc://PATH or tcp://HOST:PORT"),
        ("ipc://", "'ipc://' is not an address"),
        ("tcp://127.0.0.1", "'tcp://127.0.0.1' is not an address"),
        ("tcp://127.0.0.1:-5", "'tcp://127.0.0.1:-5' is not an address"),
        ("tcp://127.0.0.1:70000", "'tcp://127.0.0.1:70000' has no port from 1 to 65535; write tcp://HOST:PORT"),
        ("tcp://127.0.0.1:0", "'tcp://127.0.0.1:0' has no port from 1 to 65535"),
        ("tcp://[::1]:99999999", "'tcp://[::1]:99999999' has no port from 1 to 65535"),
        ("tcp://localhost:65536", "'tcp://localhost:65536' has no port from 1 to 65535"),
        ("tcp://192.0.2.1:5555", "is reachable from other hosts and there are no CURVE keys; make a key file with"),
        ("tcp://*:5555", "is reachable from other hosts"),
        ("tcp://[::]:5555", "is reachable from other hosts"),
        ("ipc:///no/such/folder/x", "No such file or directory; choose an address this process may use"),
        ("ipc://" + "x" * 108, "has 108 bytes and the system allows 107; choose a shorter path"),
    ],
)
def test_an_unusable_address_raises(router: Socket, address: str, words: str) -> None:
    with pytest.raises(TransportError) as caught:
        listen(router, address, "link to pose")
    assert words in str(caught.value)
    assert str(caught.value).startswith("link to pose")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://192.0.2.1:5555", "this host has no such address; choose one of its own, or * for all"),
        ("tcp://no-such-host.invalid:5555", "no such host; check its name"),
    ],
)
def test_an_address_of_another_host_raises(router: Socket, address: str, words: str) -> None:
    with pytest.raises(TransportError) as caught:
        listen(router, address, "link to pose", Keys.generate())
    assert words in str(caught.value)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://127.8.8.8:1", "tcp://localhost:1", "tcp://[::1]:1"])
def test_loopback_needs_no_keys(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://camera.local:1"])
def test_other_hosts_need_keys(address: str) -> None:
    assert not is_loopback(address)


def test_an_invalid_address_to_connect_to_raises(router: Socket) -> None:
    with pytest.raises(TransportError, match=r"link from track: 'udp://x' is not an address"):
        connect(router, "udp://x", "link from track")
