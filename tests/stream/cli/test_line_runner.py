"""How commands run a line: open ends are closed, and a terminal gets an introduction and a summary."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.cli.line_runner import close_open_ends
from stream.pipeline.launch import parse_launch

SMALL = "testsrc num_frames=6 width=64 height=64 people=1"


def test_an_open_end_gets_a_sink_that_prints() -> None:
    line = close_open_ends(parse_launch(f"{SMALL} ! detect model=truth"))
    assert str(line).endswith("fakesink dump=true")
    assert line.open_ends == ()


def test_a_line_that_has_its_sinks_stays_as_it_is() -> None:
    line = parse_launch(f"{SMALL} ! queue name=q; from q ! fakesink")
    assert close_open_ends(line) is line


def test_only_the_open_one_of_two_branches_is_closed() -> None:
    line = close_open_ends(parse_launch(f"{SMALL} ! queue name=q; from q ! fakesink; from q ! detect model=truth"))
    assert [str(row.elements[-1].__class__.__name__) for row in line.lines] == ["Queue", "Fakesink", "Fakesink"]


def test_the_limit_of_what_is_in_flight_is_kept_when_an_end_is_closed() -> None:
    assert close_open_ends(parse_launch(f"{SMALL} ! detect model=truth", in_flight=3)).in_flight == 3


@pytest.mark.parametrize("queue", ["", "! queue"], ids=["one process", "two"])
def test_a_terminal_sees_the_start_and_the_summary(
    queue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert execute(["launch", f"{SMALL} {queue} ! detect model=truth ! fakesink"]) == 0
    printed = capsys.readouterr().err
    assert "Ctrl-C ends it." in printed
    assert ("2 processes; 'posestream top' shows how each is doing" in printed) == bool(queue)
    assert "6 frames in " in printed.splitlines()[-1]
    assert printed.rstrip().endswith("none dropped")


def test_quiet_shows_neither(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert execute(["launch", "-q", f"{SMALL} ! fakesink"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.survival
def test_elsewhere_a_live_line_reports_what_it_dropped_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_leaks: None
) -> None:
    fast = SMALL.replace("num_frames=6", "num_frames=180")
    sink = f"tests.stream.toys.notebook location={tmp_path}/notes step_ms=60"
    line = f"{fast} realtime=true fps=60 ! queue max_items=1 ! {sink}"
    assert execute(["launch", line]) == 0
    # On a busy machine a part says more than that, as that its camera gives nothing.
    reports = [line for line in capsys.readouterr().err.splitlines() if " dropped (" in line]
    assert len(reports) == 1
    assert re.fullmatch(r"posestream: \d+ frames in \d.*; \d+ dropped \((\d+ (leaky|no credit)(, )?)+\)", reports[0])


def test_elsewhere_a_file_line_that_dropped_nothing_is_silent(
    capsys: pytest.CaptureFixture[str], no_leaks: None
) -> None:
    assert execute(["launch", f"{SMALL} ! queue ! fakesink"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("options", [[], ["--in-process"]])
def test_a_reader_of_stdout_that_leaves_is_an_error_only_where_another_output_may_lack_frames(
    tmp_path: Path, options: list[str]
) -> None:
    poses = "testsrc num_frames=1000 width=64 height=64 people=0 ! detect model=truth ! window ! pose model=hrnet-small"
    both = f"{poses} ! tee name=t; from t ! queue ! jsonsink; from t ! queue ! jsonsink location={tmp_path}/a.jsonl"
    error = (
        "posestream: the program that reads stdout has ended, and the line with it, so that the output of jsonsink may "
        "lack frames; write to a file instead of stdout\n"
    )
    for line, expected in ((f"{poses} ! jsonsink", (0, "")), (both, (1, error))):
        command = [sys.executable, "-m", "posestream", "-q", "launch", line, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert (process.wait(), process.stderr.read()) == expected
