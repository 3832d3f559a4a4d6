"""How commands run a line: open ends are closed, progress is told, and names of lines are found."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from stream.cli.line_argument import from_yaml, pipeline_of, shipped
from stream.cli.line_runner import play_here, with_sinks
from stream.cli.progress import Watch, watching
from stream.errors import LaunchError
from stream.pipeline.launch import parse_launch

SMALL = "testsrc num_frames=6 width=64 height=64 people=1"


def test_an_open_end_gets_a_sink_that_prints() -> None:
    line = with_sinks(parse_launch(f"{SMALL} ! detect model=truth"))
    assert str(line).endswith("fakesink dump=true")
    assert line.open_ends == ()


def test_a_line_that_has_its_sinks_is_left_alone() -> None:
    line = parse_launch(f"{SMALL} ! queue name=q; from q ! fakesink")
    assert with_sinks(line) is line


def test_only_the_open_one_of_two_branches_is_closed() -> None:
    line = with_sinks(parse_launch(f"{SMALL} ! queue name=q; from q ! fakesink; from q ! detect model=truth"))
    assert [str(row.elements[-1].__class__.__name__) for row in line.lines] == ["Queue", "Fakesink", "Fakesink"]


def test_the_limit_of_what_is_in_flight_is_kept_when_an_end_is_closed() -> None:
    assert with_sinks(parse_launch(f"{SMALL} ! detect model=truth", in_flight=3)).in_flight == 3


def test_a_yaml_file_and_a_launch_string_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text("line: [testsrc, fakesink]\n")
    assert pipeline_of([str(file)]) == pipeline_of(["testsrc", "!", "fakesink"])


def test_a_line_that_ships_is_found_by_its_name_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "demo" in shipped()
    assert next(part.name for part in from_yaml("demo").parts) == "testsrc"
    assert from_yaml("demo.yaml") == from_yaml("demo")


def test_a_file_that_is_there_goes_before_a_line_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.yaml").write_text("line: [testsrc, fakesink]\n")
    assert len(from_yaml("demo.yaml").parts) == 1


def test_a_missing_file_is_told_with_the_lines_that_ship() -> None:
    with pytest.raises(LaunchError, match=r"no file 'hall.yaml', and no line of that name ships; there are: .*demo"):
        from_yaml("hall.yaml")
    with pytest.raises(LaunchError, match=r"no file 'some/demo.yaml'; give the path"):
        from_yaml("some/demo.yaml")


def test_progress_tells_frames_done_of_all_and_how_fast() -> None:
    screen = io.StringIO()
    watch = Watch(6, Console(file=screen, force_terminal=True, width=80))
    with watch:
        play_here(parse_launch(f"{SMALL} ! fakesink"), watch)
    assert "6/6" in screen.getvalue()
    assert "fps" in screen.getvalue()


def test_progress_of_two_branches_is_that_of_the_slower() -> None:
    screen = io.StringIO()
    with Watch(6, Console(file=screen, force_terminal=True, width=80)) as watch:
        watch.reach("fast", 6)
        watch.reach("slow", 2)
    assert screen.getvalue().rstrip().count("2/6") >= 1


def test_nothing_is_shown_where_nobody_watches() -> None:
    assert not watching(parse_launch(f"{SMALL} ! fakesink"), quiet=False).is_shown
