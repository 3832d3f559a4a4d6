"""What connections cost the page: strangers who say nothing, or never finish what they say."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from stream.web import connections
from stream.web.server import PageServer
from tests.stream.publishing import wait_until
from tests.stream.web.test_server import TOKEN, ask, dial, serving

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ORDER = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.fixture(scope="module")
def private() -> Iterator[PageServer]:
    with serving(token=TOKEN) as server:
        yield server


def call(server: PageServer) -> socket.socket:
    address = urlsplit(server.address)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def is_closed(client: socket.socket) -> bool:
    """True once the server has closed it, whatever it said before."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "words", [b"", HEAD, HEAD + b"\r\n" + HEAD, ORDER + b"token="], ids=["none", "head", "second", "body"]
)
def test_who_does_not_finish_a_request_is_disconnected(
    private: PageServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, words: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.1)
    with call(private) as client:
        client.sendall(words)
        assert is_closed(client)
    assert ask(private, "/healthz")[0] == 200
    assert caplog.messages == []


def test_a_viewer_stays_although_it_sends_no_more_requests(
    private: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.05)
    with dial(private, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as page:
        page.recv(30)
        time.sleep(0.2)
        page.ping().wait(30)
        assert len(private._hub.viewers) == 1


def test_a_body_that_is_too_long_is_answered_before_its_end(
    private: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.web.guard._WRONG_TOKEN_S", 0.01)
    with call(private) as client:
        client.sendall(ORDER + b"x" * 100_000)
        assert client.recv(12) == b"HTTP/1.1 401"


def test_connections_beyond_the_limit_are_closed_and_their_places_given_back(
    private: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = private._socket
    assert isinstance(listener, connections.BoundedListener)
    wait_until(lambda: all(one.fileno() < 0 for one in listener._open), "earlier connections have gone")
    monkeypatch.setattr(connections, "MAX_OPEN", 3)
    with ExitStack() as stack:
        clients = [stack.enter_context(call(private)) for _ in range(6)]
        assert all(is_closed(client) for client in clients[3:])
        clients[0].sendall(HEAD + b"\r\n")
        assert clients[0].recv(12) == b"HTTP/1.1 200"
    wait_until(lambda: all(one.fileno() < 0 for one in listener._open), "the connections have gone")
    assert ask(private, "/healthz")[0] == 200
