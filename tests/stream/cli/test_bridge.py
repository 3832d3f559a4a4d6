"""``posestream bridge`` from a publisher to a listener on UDP."""

from __future__ import annotations

import socket

import pytest

from stream.__main__ import execute
from tests.stream.cli.test_subscribe import publishing, publishing_with_a_loss

Capture = pytest.CaptureFixture[str]


def test_what_is_published_is_passed_on_and_counted(capsys: Capture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        with publishing() as address:
            to = f"osc://127.0.0.1:{listener.getsockname()[1]}/site"
            assert execute(["bridge", to, "--from", address, "--camera", "hall", "--until-end"]) == 0
        packets = [listener.recv(65536) for _ in range(5 * 3)]
    assert [packet.partition(b"\0")[0] for packet in packets[:2]] == [b"/site/hall/frame", b"#bundle"]
    assert capsys.readouterr().err == "sent hall: 5\n"


def test_at_the_end_what_did_not_reach_the_bridge_is_an_error(capsys: Capture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, publishing_with_a_loss() as address:
        listener.bind(("127.0.0.1", 0))
        to = f"osc://127.0.0.1:{listener.getsockname()[1]}/site"
        assert execute(["bridge", to, "--from", address, "--until-end"]) == 1
    assert capsys.readouterr().err == (
        "sent hall: 2; 3 lost before the bridge\n"
        "posestream: 3 messages did not reach the bridge, since they came faster than it passed them on, or "
        "their publisher had lost them\n"
    )


def test_an_option_of_kafka_has_a_name_and_a_value(capsys: Capture) -> None:
    assert execute(["bridge", "kafka://127.0.0.1", "--option", "acks"]) == 2
    assert "'acks' is not NAME=VALUE" in capsys.readouterr().err
