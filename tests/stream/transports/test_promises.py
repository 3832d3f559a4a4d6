"""Every transport passes ``check_transport``."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.testing.transports import Link, MakeLink, check_transport
from stream.transports import zmq_link
from stream.transports.curve import Keys
from stream.transports.in_process import Exchange


def memory_links(_folder: Path) -> MakeLink:
    def make() -> Link:
        exchange = Exchange()
        return Link(
            lambda sender: exchange.open_outbox("people", sender),
            lambda leaky, max_items: exchange.open_inbox("people", leaky=leaky, max_items=max_items),
        )

    return make


def ipc_links(folder: Path) -> MakeLink:
    numbers = itertools.count()
    return lambda: _zeromq_link(f"ipc://{folder}/{next(numbers)}.sock")


def tcp_links(_folder: Path) -> MakeLink:
    return lambda: _zeromq_link(_free_tcp_address())


def curve_links(_folder: Path) -> MakeLink:
    keys = Keys.generate()
    return lambda: _zeromq_link(_free_tcp_address(), keys)


def _zeromq_link(address: str, keys: Keys | None = None) -> Link:
    return Link(
        lambda sender: zmq_link.open_outbox(address, sender, keys=keys),
        lambda leaky, max_items: zmq_link.open_inbox(address, "pose", leaky=leaky, max_items=max_items, keys=keys),
    )


def _free_tcp_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("links", [memory_links, ipc_links, tcp_links, curve_links])
def test_every_transport_conforms_to_the_interface(links: Callable[[Path], MakeLink], tmp_path: Path) -> None:
    check_transport(links(tmp_path))
