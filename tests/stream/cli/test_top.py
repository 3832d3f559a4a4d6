"""``posestream top`` against a line that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream.__main__ import execute
from stream.cli.top import Board
from stream.errors import TransportError
from stream.pipeline.launch import parse_launch
from stream.runtime.bus import Stats
from stream.runtime.supervisor import Supervisor

LINE = "testsrc realtime=true fps=20 width=64 height=64 ! queue ! detect model=truth ! queue ! fakesink"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / "line.yaml").write_text(parse_launch(LINE).to_yaml())
    with Board(tmp_path) as made:
        return made


def rendered(board: Board) -> list[str]:
    console = Console(width=80)
    with console.capture() as screen:
        console.print(board.render())
    return screen.get().splitlines()


def test_top_shows_every_part_of_a_line_that_runs(
    no_leaks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Supervisor(parse_launch(LINE), tmp_path / "run") as supervisor:
        supervisor.play()
        for _ in range(20):  # on a busy machine a part's first heartbeat can come after top has looked
            assert execute(["top", "--once", "--run-dir", str(supervisor.run_dir)]) == 0
            head, *rows = capsys.readouterr().out.splitlines()
            if not any("unknown" in row for row in rows):
                break
    assert head.split()[:3] == ["part", "state", "fps"]
    assert [row.split()[0] for row in rows] == ["testsrc", "detect", "fakesink"]
    assert all(row.split()[1] in ("null", "ready", "paused", "playing") for row in rows)


def test_a_part_without_statistics_yet_is_unknown(board: Board) -> None:
    assert "unknown" in rendered(board)[1]


def test_figures_are_those_of_the_last_heartbeat(board: Board) -> None:
    board.line.receive(Stats(part="detect", state="PLAYING", fps=19.5, process_p95_ms=7.25, dropped=3, incarnation=2))
    row = next(line for line in rendered(board) if line.startswith("detect"))
    assert row.split() == ["detect", "playing", "19.5", "0.0/7.2", "0/0", "0", "3", "0", "2"]


def test_what_elements_say_stands_below_the_table_as_they_say_it(board: Board) -> None:
    board.line.receive(Stats(part="detect", state="PLAYING", status="[bold] 79% of frames reused"))
    assert rendered(board)[-1].rstrip() == "detect: [bold] 79% of frames reused"


def test_large_numbers_fit_eighty_columns(board: Board) -> None:
    board.line.parts = ("overlaysink12",)
    figures: dict[str, Any] = {
        "process_p50_ms": 123.4,
        "process_p95_ms": 234.5,
        "age_p50_ms": 1234.0,
        "age_p95_ms": 2345.0,
    }
    board.line.receive(Stats(part="overlaysink12", state="PLAYING", fps=1234.5, waiting=12, dropped=99999, **figures))
    head, row = rendered(board)
    assert "restarts" in head
    assert row.split() == ["overlaysink12", "playing", "1234.5", "123.4/234.5", "1234/2345", "12", "99999", "0", "0"]


def test_a_part_that_fell_silent_is_called_so(board: Board) -> None:
    board.line.receive(Stats(part="detect", state="PLAYING"))
    stats, received_s = board.line._heartbeats["detect"]
    board.line._heartbeats["detect"] = stats, received_s - 60
    assert "silent" in next(line for line in rendered(board) if line.startswith("detect"))


def test_without_any_line_top_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.cli.top import _find_run_dir

    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path))
    with pytest.raises(TransportError, match="no line of yours runs on this host; start one"):
        _find_run_dir(None)
