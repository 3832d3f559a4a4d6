"""The page over real HTTP: who may read it, what its answers allow a browser to do, and what it does not say."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from stream.elements.keypointsink import KeypointSink
from stream.metrics.line_watch import LineWatch
from stream.pipeline.launch import parse_launch
from stream.runtime import bus
from stream.web import hub as hub_module
from stream.web.access import Access
from stream.web.feed import Address
from stream.web.packet import encode_state
from stream.web.server import PageServer
from tests.stream.elements.test_keypointsink_pictures import is_wanted, make_numbered
from tests.stream.publishing import open_sink, wait_until

TOKEN = "0123456789abcdef-token"


@contextmanager
def serving(*sinks: KeypointSink, token: str = "") -> Iterator[PageServer]:
    addresses = [Address(sink.endpoint) for sink in sinks]
    with PageServer(addresses, Access("127.0.0.1", 0, token), [Path("/nowhere")]) as server:
        yield server


@pytest.fixture(scope="module")
def public() -> Iterator[PageServer]:
    """A page without a token."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def private() -> Iterator[PageServer]:
    """A page with a token."""
    with serving(token=TOKEN) as server:
        yield server


def ask(
    server: PageServer, path: str = "/", method: str = "GET", body: str | bytes | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of an answer."""
    address = urlsplit(server.address)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def dial(server: PageServer, **options: Any) -> ClientConnection:
    return connect(server.address.replace("http", "ws") + "frames", compression=None, max_size=2**24, **options)


# -- who may read it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/state", "/healthz", "/nothing"])
def test_every_answer_forbids_scripts_frames_and_requests_of_others(public: PageServer, path: str) -> None:
    status, _, headers = ask(public, path)
    assert status == (404 if path == "/nothing" else 200)
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    host = urlsplit(public.address).netloc
    assert policy["connect-src"] == f"'self' ws://{host} wss://{host}"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[", "192.168.1.5"]
)
def test_a_page_that_makes_its_own_name_lead_here_is_refused(public: PageServer, host: str) -> None:
    status, text, _ = ask(public, "/api/state", Host=host)
    assert status in (400, 421)
    assert "cameras" not in text


def test_a_name_cannot_change_the_policy(private: PageServer) -> None:
    for host in ("a.example;script-src *", "a.example, *", "a.example *"):
        policy = ask(private, "/healthz", Host=host)[2].get("content-security-policy", "")
        assert "*" not in policy
        assert "a.example" not in policy


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080"])
def test_the_names_of_this_machine_are_answered(public: PageServer, host: str) -> None:
    assert ask(public, "/api/state", Host=host)[0] == 200


def test_a_page_of_another_site_may_not_open_the_socket_nor_a_name_that_leads_here(public: PageServer) -> None:
    for origin in ("http://evil.example", "null", "http://[", f"{public.address.rstrip('/')}.evil.example"):
        with pytest.raises(InvalidStatus, match="403"):
            dial(public, origin=origin)
    address = urlsplit(public.address)
    with (
        socket.create_connection((address.hostname, address.port)) as connection,
        pytest.raises(InvalidStatus, match="403"),
    ):
        connect(f"ws://evil.example:{address.port}/frames", sock=connection)
    with dial(public, origin=public.address.rstrip("/")) as page:
        assert isinstance(page.recv(30), str)


def test_without_the_token_nothing_is_shown(private: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.web.guard._WRONG_TOKEN_S", 0.01)
    assert ask(private, "/healthz")[:2] == (200, "ok\n")
    status, text, _ = ask(private)
    assert (status, "Token" in text) == (401, True)
    for headers in (
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": f"{Access('', 0, TOKEN).cookie}={TOKEN}"},
        {"Cookie": '="\x01'},
    ):
        status, text, answer = ask(private, "/api/state", **headers)
        assert (status, answer["www-authenticate"]) == (401, "Bearer")
        assert text == "give the token: as 'Authorization: Bearer TOKEN', or log in at /\n"
    assert ask(private, "/page.js")[0] == 401
    with pytest.raises(InvalidStatus, match="403"):
        dial(private)


def test_with_the_token_a_program_is_let_in(private: PageServer) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(private, "/api/state", **headers)[0] == 200
    with dial(private, additional_headers=headers) as page:
        assert isinstance(page.recv(30), str)


def test_a_browser_logs_in_once(private: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.web.guard._WRONG_TOKEN_S", 0.01)
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    status, text, headers = ask(private, "/login", "POST", urlencode({"token": "wrong"}), **form)
    assert (status, "That is not the token." in text, "set-cookie" in headers) == (401, True, False)
    status, _, headers = ask(private, "/login", "POST", urlencode({"token": f" {TOKEN}\n"}), **form)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert TOKEN not in cookie
    assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
    assert ask(private, "/api/state", Cookie=cookie.split(";")[0])[0] == 200
    assert ask(private, "/login", "POST", "x" * 100_000, **form)[0] == 401
    status, text, _ = ask(private, "/login", "POST", urlencode({"token": TOKEN}), Origin="http://evil.example", **form)
    assert (status, text) == (403, "pages of other sites may not read this\n")


WRONG_WAYS = [
    ("GET", "/api/state", None, {"Authorization": "Bearer guessed-wrong"}),
    ("GET", "/", None, {"Cookie": f"{Access('', 0, TOKEN).cookie}=guessed-wrong"}),
    ("GET", "/", None, {"Cookie": f"{Access('', 0, 'guessed-wrong').cookie}=guessed-wrong"}),
    ("POST", "/login", "token=guessed-wrong", {}),
]


def test_a_wrong_token_takes_its_time_and_is_logged_in_whatever_way_it_is_given(
    private: PageServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.web.guard._WRONG_TOKEN_S", 0.3)
    for method, path, body, headers in WRONG_WAYS:
        begun_s = time.monotonic()
        assert ask(private, path, method, body, **headers)[0] == 401
        assert time.monotonic() - begun_s >= 0.3
    begun_s = time.monotonic()
    with pytest.raises(InvalidStatus, match="403"):
        dial(private, additional_headers={"Authorization": "Bearer guessed-wrong"})
    assert time.monotonic() - begun_s >= 0.3
    given = ["token", "or old cookie", "or old cookie", "token", "token"]
    assert caplog.messages == [f"a wrong {what} from 127.0.0.1" for what in given]


def test_many_wrong_tokens_at_once_are_no_way_around_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.web.guard._WRONG_TOKEN_S", 30.0)
    monkeypatch.setattr("stream.web.guard._MAX_WAITING", 2)
    right = {"Authorization": f"Bearer {TOKEN}"}
    with ExitStack() as stack:
        server = stack.enter_context(serving(token=TOKEN))
        for _ in range(2):
            address = urlsplit(server.address)
            connection = http.client.HTTPConnection(address.hostname or "", address.port)
            stack.callback(connection.close)
            connection.request("GET", "/api/state", headers={"Authorization": "Bearer guessed-wrong"})
        wait_until(lambda: ask(server, "/api/state", **right)[0] == 429, "two wrong ones wait")
        for method, path, body, headers in WRONG_WAYS:
            status, text, answer = ask(server, path, method, body, **headers)
            assert (status, answer["retry-after"]) == (429, "1")
            assert text.endswith("wrong tokens are being refused, so none is looked at; try again in a second\n")
        assert ask(server, "/healthz")[0] == 200
        assert ask(server)[0] == 401, "who gives none sees the form"


@contextmanager
def open_fast_sink() -> Iterator[KeypointSink]:
    """A publisher whose pictures are limited by nothing but the time to make them."""
    with open_sink(pictures=True) as sink:
        assert sink._pictures is not None
        sink._pictures._interval_s = 0.0
        yield sink


# -- frames ------------------------------------------------------------------------------------------------------------


def test_a_viewer_gets_the_state_and_the_frames_that_it_asks_for() -> None:
    with open_fast_sink() as sink, serving(sink) as server, dial(server) as page:
        sink.consume(make_numbered(0))
        wait_until(lambda: json.loads(ask(server, "/api/state")[1])["cameras"], "the camera is known")
        server._state_s = float("-inf")
        server.turn()
        while not (state := json.loads(page.recv(30))).get("cameras"):
            pass
        (camera,) = state["cameras"]
        assert (camera["id"], camera["name"], camera["people"], camera["model"]) == (0, "hall", 2, "made up")
        assert state["lines"] == [{"name": "nowhere", "trouble": "no line runs", "parts": []}]
        page.send(json.dumps({"show": [0]}))
        wait_until(lambda: is_wanted(sink), "pictures are asked for")
        for seq in range(1, 6):  # without a word that one was drawn, two are sent
            sink.consume(make_numbered(seq))
            wait_until(lambda seq=seq: server._numbers[0] == seq, "it is published")  # type: ignore[misc]
        packets = [page.recv(30), page.recv(30)]
        page.send(json.dumps({"drawn": 0}))
        packets.append(page.recv(30))
    heads = [read_head(packet) for packet in packets]
    assert [(head["frame"], head["number"]) for head, _ in heads] == [(1, 1), (2, 2), (5, 5)]
    head, jpeg = heads[0]
    assert jpeg[:2] == b"\xff\xd8"
    poses = make_numbered(1)
    assert head["size"] == [320, 240]
    assert [person["id"] for person in head["people"]] == poses.ids.tolist()
    assert head["people"][1]["points"][3] == pytest.approx(poses.keypoints[1, 3].tolist(), abs=1e-3)


def read_head(packet: str | bytes) -> tuple[dict[str, Any], bytes]:
    assert isinstance(packet, bytes)
    (length,) = struct.unpack_from(">I", packet)
    return json.loads(packet[4 : 4 + length]), packet[4 + length :]


@pytest.mark.parametrize(
    "word", ["{", "[]", '{"show": ["a"]}', '{"other": 1}', b"\x00", '{"show": [' + "1," * 9999 + "1]}"]
)
def test_a_viewer_that_says_anything_else_is_sent_away(public: PageServer, word: str | bytes) -> None:
    with dial(public) as page:
        page.recv(30)
        page.send(word)
        with pytest.raises(ConnectionClosed) as closed:
            page.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1008, 1009)


def test_there_are_at_most_so_many_viewers(public: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_VIEWERS", 1)
    wait_until(lambda: not public._hub.viewers, "earlier viewers have gone")
    with dial(public) as first, dial(public) as second:
        first.recv(30)
        with pytest.raises(ConnectionClosed) as closed:
            second.recv(30)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "1 viewers are connected, which is the most")


def test_a_viewer_that_hangs_costs_the_others_nothing() -> None:
    with open_fast_sink() as sink, serving(sink) as server, dial(server) as hung, dial(server) as page:
        sink.consume(make_numbered(0))
        for viewer in (hung, page):
            viewer.send(json.dumps({"show": [0]}))
        wait_until(lambda: is_wanted(sink), "pictures are asked for")
        wait_until(lambda: sum(bool(viewer.shown) for viewer in server._hub.viewers) == 2, "both have asked")
        seen = []
        for seq in range(1, 31):
            sink.consume(make_numbered(seq))
            while isinstance(packet := page.recv(30), str):
                pass
            seen.append(read_head(packet)[0]["frame"])
            page.send(json.dumps({"drawn": 0}))
    assert seen == list(range(1, 31))


# -- what is said ------------------------------------------------------------------------------------------------------


def test_no_password_of_a_line_is_in_the_state(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text(parse_launch("testsrc ! fakesink").to_yaml())
    watch = LineWatch(tmp_path)
    try:
        url = "rtsp://adm:Kiwi7Mango3@10.0.0.7/ch1?token=Kiwi7Mango3"
        for notice in (
            bus.Error(part="testsrc", text=f"lost {url}"),
            bus.Restarted(part="testsrc", why=f"died: {url}", count=1),
            bus.Warning_(part="testsrc", text=url),
            bus.Stats(part="testsrc", status=f"reads {url}"),
        ):
            watch.receive(bus.decode(bus.encode(notice)))
        text = encode_state([], {}, [watch], [])
    finally:
        watch.close()
    assert "Kiwi7" not in text
    state = json.loads(text)
    assert [event["kind"] for event in state["events"]] == ["warning", "restart", "error"]
    assert state["events"][2]["text"] == "lost rtsp://***@10.0.0.7/ch1?token=***"
    assert state["lines"][0]["parts"][0]["status"] == "reads rtsp://***@10.0.0.7/ch1?token=***"


def test_viewers_hear_of_an_event_at_once(tmp_path: Path) -> None:
    (tmp_path / "line.yaml").write_text(parse_launch("testsrc ! fakesink").to_yaml())
    with serving() as server, dial(server) as page:
        page.recv(30)
        wait_until(lambda: server._hub.viewers, "the viewer is known")
        server.turn()
        page.recv(30)
        watch = LineWatch(tmp_path)
        server._running._lines[object()] = watch  # type: ignore[index]
        server._running.follow = lambda: None  # type: ignore[method-assign]
        server.turn()
        watch.receive(bus.Error(part="testsrc", text="the lens is dirty"))
        threading.Thread(target=server.turn).run()
        state = json.loads(page.recv(30))
    assert [event["text"] for event in state["events"]] == ["the lens is dirty"]
