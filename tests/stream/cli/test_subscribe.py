"""``posestream subscribe`` as people and programs see it."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.cli import subscribe
from stream.elements.keypointsink import KeypointSink
from stream.protocol import subscriber
from stream.testing import make_poses
from tests.stream.publishing import TIMEOUT_S, count_snapshots, open_sink, wait_until

Capture = pytest.CaptureFixture[str]


@contextmanager
def publishing(count: int = 5) -> Iterator[str]:
    """An address where a short run of two cameras is published when a subscriber connects."""

    def publish(sink: KeypointSink) -> None:
        for seq in range(count):
            sink.consume(make_poses(seq, "hall"))
            sink.consume(make_poses(seq, "yard"))

    with publishing_once_heard(publish) as address:
        yield address


@contextmanager
def publishing_with_a_loss() -> Iterator[str]:
    """As :func:`publishing`, with two messages of one camera, between which three are lost."""

    def publish(sink: KeypointSink) -> None:
        sink.consume(make_poses(0, "hall"))
        sink._numbers.commit("hall", 3, 3)  # as if three had been dropped on their way
        sink.consume(make_poses(4, "hall"))

    with publishing_once_heard(publish) as address:
        yield address


@contextmanager
def publishing_once_heard(publish: Callable[[KeypointSink], None]) -> Iterator[str]:
    """An address where ``publish`` gives a sink its poses when a subscriber connects, and then the end."""

    def run(sink: KeypointSink) -> None:
        wait_until(lambda: count_snapshots(sink), "a subscriber connects")
        publish(sink)
        sink.flush()

    with open_sink() as sink:
        thread = threading.Thread(target=run, args=(sink,))
        thread.start()
        yield sink.endpoint
        thread.join(TIMEOUT_S)


def test_lines_are_printed_without_a_terminal(capsys: Capture) -> None:
    with publishing() as address:
        assert execute(["subscribe", address, "--camera", "hall", "--until-end", "--timeout", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"hall {seq}: 2 people" for seq in range(5)]


def test_json_is_one_object_a_line_with_the_keys_of_the_protocol(capsys: Capture) -> None:
    with publishing() as address:
        assert (
            execute(["subscribe", address, "--json", "-n", "3", "--person", "2", "-c", "yard", "--timeout", "30"]) == 0
        )
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(message["camera"], message["seq"]) for message in found] == [("yard", 0), ("yard", 1), ("yard", 2)]
    (person,) = found[0]["people"]
    assert person["id"] == 2
    assert dict(zip(found[0]["joints"], person["keypoints"], strict=True))["nose"][2] == 0.8


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, run: Callable[[], int]) -> str:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    assert run() == 0
    return terminal.getvalue()


def test_a_terminal_gets_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with publishing() as address:
        seen = shown(monkeypatch, lambda: execute(["subscribe", address, "--until-end", "--timeout", "30"]))
    for text in ("hall", "yard", "0.90", "10 messages, 0 lost in 0 gaps", f"{address}: publishing"):
        assert text in seen


def test_silence_is_one_line_and_an_exit_code(capsys: Capture) -> None:
    assert execute(["subscribe", "tcp://127.0.0.1:1", "--timeout", "0.2"]) == 1
    assert capsys.readouterr().err == (
        "posestream: nothing for 0.2 s: tcp://127.0.0.1:1 sends no heartbeats; "
        "start a line with keypointsink there, or check the address\n"
    )


def test_another_host_without_keys_is_one_line(capsys: Capture) -> None:
    assert execute(["subscribe", "tcp://192.168.1.20:5570"]) == 1
    assert capsys.readouterr().err.startswith("posestream: subscriber: tcp://192.168.1.20:5570 is another host")


def test_an_address_where_nothing_is_published_is_named_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(subscribe, "_SILENCE_S", 0.05)
    assert execute(["subscribe", "tcp://127.0.0.1:9", "--timeout", "0.5", "--count", "1"]) != 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "nothing from tcp://127.0.0.1:9 for 0.05 s (no line publishes there; start one that ends in keypointsink); "
        "still trying"
    )


def test_where_the_camera_is_not_published_those_that_are_stand_in_the_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    address = f"ipc://{tmp_path}/s"
    monkeypatch.setattr(subscribe, "_SILENCE_S", 0.3)
    with KeypointSink(bind=address, heartbeat_ms=50) as sink:
        sink.consume(make_poses(0, camera="hall"))
        assert execute(["subscribe", address, "--camera", "hal", "--timeout", "1"]) != 0
    assert "nothing of what was asked for yet; its cameras: hall); still trying" in capsys.readouterr().err


@pytest.mark.parametrize(("until_end", "status"), [([], 0), (["--until-end"], 1)])
def test_lost_messages_are_counted_at_the_end(until_end: list[str], status: int, capsys: Capture) -> None:
    with publishing_with_a_loss() as address:
        assert execute(["subscribe", address, "--count", "2", "--timeout", "30", *until_end]) == status
    said = capsys.readouterr().err
    assert said == "lost messages, since they came faster than they were read or sent: hall: 3\n"


def test_a_line_that_is_gone_before_its_end_is_an_error_with_until_end(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(subscribe, "_SILENCE_S", 0.3)
    monkeypatch.setattr(subscriber, "_RESTART_S", 1.0)
    address = f"ipc://{tmp_path}/s"

    def publish_without_an_end() -> None:
        with KeypointSink(bind=address, heartbeat_ms=50, linger_s=0) as sink:
            wait_until(lambda: count_snapshots(sink), "a subscriber connects")
            sink.consume(make_poses(0, "hall"))

    thread = threading.Thread(target=publish_without_an_end)
    thread.start()
    assert execute(["subscribe", address, "--until-end"]) == 1
    thread.join(TIMEOUT_S)
    *_, silence, error = capsys.readouterr().err.splitlines()
    assert "no line publishes there" in silence
    assert error == (
        f"posestream: {address} sent nothing for 1 s, and the end of hall has not arrived; "
        "its line was killed, or its last messages were lost because they were read too slowly"
    )
