"""``posestream relay``: what it says, and that it ends as it should."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.elements.keypointsink import KeypointSink
from stream.protocol.subscriber import Subscriber
from stream.testing import make_poses
from tests.stream.publishing import TIMEOUT_S


def test_it_says_where_to_publish_and_subscribe_and_at_ctrl_c_what_it_passed_on() -> None:
    command = [
        sys.executable,
        "-m",
        "stream",
        "relay",
        "--bind",
        "tcp://127.0.0.1:*",
        "--publishers",
        "tcp://127.0.0.1:*",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        words = process.stderr.readline().replace(";", "").replace("'", "").split()
        publishers, bind = (word for word in words if word.startswith("tcp://"))
        with KeypointSink(relay=publishers) as sink, Subscriber(bind) as subscriber:
            sink.consume(make_poses(0, "hall"))
            assert subscriber.poll(TIMEOUT_S) is not None
            sink.flush()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "passed on 2 messages of 1 camera\n"
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--bind", "tcp://0.0.0.0:5570"), "relay --bind: tcp://0.0.0.0:5570 is reachable from other hosts"),
        (("--keys", "missing.key_secret"), "key file missing.key_secret cannot be read"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert execute(["relay", *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
