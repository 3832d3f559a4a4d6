"""The commands that run beside lines until Ctrl-C: what ``-q`` leaves out, and what ``-v`` adds."""

from __future__ import annotations

import logging
import re
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from stream.__main__ import execute
from tests.stream.cli.test_subscribe import publishing

Capture = pytest.CaptureFixture[str]
COMMANDS = ("view --listen 127.0.0.1:0", "metrics --listen 127.0.0.1:0", "serve site.yaml --listen 127.0.0.1:0")


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is pressed as soon as a command waits for it."""
    monkeypatch.setattr("stream.runtime.signals.handle_signals", lambda: nullcontext([signal.SIGINT]))


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_leaves_out_what_is_no_error(
    command: str, interrupted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_text("line: [testsrc, tests.toys.oracle, keypointsink]\n")
    assert execute(command.split()) == 0
    assert re.search(r"^(the page is|metrics are) on http://127\.0\.0\.1:\d+/", capsys.readouterr().err)
    assert execute(["-q", *command.split()]) == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_keeps_back_that_metrics_are_open_to_others(interrupted: None, capsys: Capture) -> None:
    command = ["metrics", "--listen", "0.0.0.0:0"]
    assert execute(command) == 0
    assert "posestream: warning: anyone who reaches this host can read the names" in capsys.readouterr().err
    assert execute([*command, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bridge_that_is_quiet_prints_no_summary(capsys: Capture) -> None:
    with publishing() as address:
        assert execute(["-q", "bridge", "osc://127.0.0.1:9", "--from", address, "--camera", "hall", "--until-end"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bridge_that_is_quiet_says_what_was_not_delivered(capsys: Capture) -> None:
    with publishing() as address:
        command = ["bridge", "mqtt://127.0.0.1:1/site", "--from", address, "--camera", "hall", "--until-end", "-q"]
        assert execute(command) == 1
    assert re.fullmatch(
        r"posestream: mqtt://127\.0\.0\.1:1/site has not taken \d messages; check that it runs, .* --max-waiting\n",
        capsys.readouterr().err,
    )


def test_a_bridge_that_is_verbose_names_the_cameras_that_pass(
    capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    with publishing() as address, caplog.at_level(logging.INFO):
        to = "osc://127.0.0.1:9"
        assert execute(["-v", "bridge", to, "--from", address, "--camera", "hall", "--until-end"]) == 0
    assert "osc://127.0.0.1:9 has taken the first message of camera 'hall'" in capsys.readouterr().err
