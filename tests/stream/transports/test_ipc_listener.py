"""A socket's path that is taken away is noticed and made anew; what may be another's is never removed."""

from __future__ import annotations

import logging
import socket as network
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from stream.errors import TransportError
from stream.transports import zmq_link, zmq_socket
from stream.transports.base import Delivery
from stream.transports.endpoint import HopInbox, HopOutbox
from stream.transports.run_token import RunToken
from tests.stream.transports.test_zmq_link import until

TOKEN, OTHER = RunToken.generate(), RunToken.generate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.sock"


def test_a_restarted_sender_finds_an_inbox_whose_path_was_removed(path: Path, closing: Callable[[Any], Any]) -> None:
    inbox = closing(zmq_link.open_inbox(f"ipc://{path}", "pose", keys=TOKEN))
    path.unlink()
    outbox = closing(zmq_link.open_outbox(f"ipc://{path}", "track", keys=TOKEN))
    outbox.send(("hall", 0), [b"x"])
    assert receive(outbox, inbox) == [b"x"]
    assert path.is_socket()


def test_a_path_that_was_removed_before_it_was_looked_at_is_made_anew(
    path: Path, closing: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = network.socket.bind

    class Removed(network.socket):
        def bind(self, address: Any) -> None:
            bind(self, address)
            Path(address).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(network, "socket", Removed)
        inbox = closing(zmq_link.open_inbox(f"ipc://{path}", "pose", keys=TOKEN))
    outbox = closing(zmq_link.open_outbox(f"ipc://{path}", "track", keys=TOKEN))
    outbox.send(("hall", 0), [b"x"])
    assert receive(outbox, inbox) == [b"x"]


@pytest.mark.parametrize("is_listening", [True, False])
def test_only_a_socket_without_a_listener_is_replaced(path: Path, is_listening: bool) -> None:
    with network.socket(network.AF_UNIX) as other:
        other.bind(str(path))
        if is_listening:
            other.listen()
            with pytest.raises(TransportError, match=r"link to pose cannot listen on ipc://.*in use"):
                zmq_link.open_inbox(f"ipc://{path}", "pose")
        else:
            zmq_link.open_inbox(f"ipc://{path}", "pose").close()
    assert path.exists() == is_listening


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.XPUB])
def test_a_file_is_not_removed_for_a_socket(path: Path, kind: int) -> None:
    path.write_text("precious")
    socket = zmq_socket.open_socket(kind)
    with pytest.raises(TransportError, match="a file is there; move it or choose another path"):
        zmq_socket.listen(socket, f"ipc://{path}", "pose")
    zmq_socket.close_socket(socket)
    assert path.read_text() == "precious"


def test_the_path_of_another_is_left_alone_at_the_end(path: Path) -> None:
    inbox = zmq_link.open_inbox(f"ipc://{path}", "pose")
    path.unlink()
    path.write_text("precious")
    inbox.close()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_a_stranger_is_refused_and_counted_and_cannot_end_a_stream(
    path: Path, scheme: str, closing: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"ipc://{path}" if scheme == "ipc" else f"tcp://127.0.0.1:{_free_port()}"
    caplog.set_level(logging.WARNING)
    inbox = closing(zmq_link.open_inbox(address, "pose", keys=TOKEN))
    for number, keys in enumerate((None, OTHER)):
        stranger = closing(zmq_link.open_outbox(address, "track", keys=keys))
        stranger.send(("hall", 0), [b"end"])
        refuse(stranger, inbox, number + 1)
    own = closing(zmq_link.open_outbox(address, "track", keys=TOKEN))
    own.send(("hall", 0), [b"frame"])
    assert receive(own, inbox) == [b"frame"]
    texts = [text for text in caplog.messages if "no part of this run has tried to connect" in text]
    assert len(texts) == 1
    assert TOKEN.text not in caplog.text
    assert TOKEN.password(address).decode() not in caplog.text


def test_an_outbox_that_was_refused_says_so_and_connects_again(
    closing: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"tcp://127.0.0.1:{_free_port()}"
    outbox = closing(zmq_link.open_outbox(address, "track", keys=TOKEN))
    outbox.send(("hall", 0), [b"x"])
    other = zmq_link.open_inbox(address, "other", keys=OTHER)
    refuse(outbox, other, 1)
    until(lambda: outbox.take_acknowledged() == [] and "what listens on" in caplog.text)
    assert "link from track: what listens on" in caplog.text
    assert "give both the same --run-dir, or the same key in POSESTREAM_CURVE" in caplog.text
    other.close()
    inbox = closing(zmq_link.open_inbox(address, "pose", keys=TOKEN))
    assert receive(outbox, inbox) == [b"x"]


def test_a_token_is_not_shown() -> None:
    assert TOKEN.text not in repr(TOKEN)
    assert TOKEN.is_valid
    assert not RunToken("garbage").is_valid


def receive(outbox: HopOutbox, inbox: HopInbox) -> list[bytes]:
    """The first items that arrive."""
    items: list[Delivery] = []

    def turn() -> bool:
        outbox.take_acknowledged()
        items.extend(inbox.receive(1, 10))
        return bool(items)

    until(turn)
    return [bytes(item.buffers[0]) for item in items]


def refuse(outbox: HopOutbox, inbox: HopInbox, count: int) -> None:
    """Wait until so many connections were refused; nothing may arrive meanwhile."""

    def turn() -> bool:
        assert outbox.take_acknowledged() == inbox.receive(1, 10) == []
        return inbox.statistics().refused >= count

    until(turn)


def _free_port() -> int:
    with network.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
