"""From words to a line: launch strings, files, lines that ship, and overridden properties."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.cli.line_argument import find_line, load_line, override, parse_line, read_line, shipped_lines
from stream.errors import LaunchError, PosestreamError

Capture = pytest.CaptureFixture[str]


def test_a_yaml_file_and_a_launch_string_are_distinguished(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_text("line: [testsrc, fakesink]\n")
    assert read_line([str(file)]) == read_line(["testsrc", "!", "fakesink"])


def test_a_line_that_ships_is_found_by_its_name_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "demo" in shipped_lines()
    assert str(load_line("demo")).startswith("testsrc")
    assert load_line("demo.yaml") == load_line("demo")


def test_your_own_file_goes_before_a_line_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo.yaml").write_text("line: [testsrc, fakesink]\n")
    assert load_line("demo.yaml") == parse_line("testsrc ! fakesink")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hall.yaml", "no file 'hall.yaml', and no line of that name ships; there are: branch, demo, file, "),
        ("webcm", "no file 'webcm', and no line of that name ships; did you mean 'webcam'? There are: branch, "),
        ("some/demo.yaml", "no file 'some/demo.yaml'; give the path of a YAML file that holds 'line:'"),
    ],
)
def test_an_unknown_line_is_one_error_with_those_that_ship(name: str, message: str) -> None:
    with pytest.raises(LaunchError) as caught:
        load_line(name)
    assert str(caught.value).startswith(message)


LINE = (
    "filesrc location=a.mp4 ! queue ! detect min_score=0.5 ! track ! queue ! window ! pose ! jsonsink location=b.jsonl"
)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["location=c.mp4"], LINE.replace("a.mp4", "c.mp4")),
        (["jsonsink.location=c.jsonl"], LINE.replace("b.jsonl", "c.jsonl")),
        (["min_score=0.25"], LINE.replace("0.5", "0.25")),
        (["start=3", "filesrc.num_frames=4"], LINE.replace("a.mp4", "a.mp4 start=3 num_frames=4")),
    ],
)
def test_an_override_changes_the_source_or_the_element_it_names(words: list[str], changed: str) -> None:
    assert override(parse_line(LINE), words) == parse_line(changed)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("locaton=c.mp4", "locaton=c.mp4: no element of this line has a property 'locaton'; did you mean 'location'?"),
        ("filesrc.strat=1", "filesrc.strat=1: filesrc has no property 'strat'; did you mean 'start'?"),
        ("fliesrc.start=1", "this line has no element 'fliesrc'; did you mean 'filesrc'? It has: filesrc, queue, "),
        ("queue.max_items=2", "queue.max_items=2: 2 elements of this line are called 'queue'; print the line with "),
        ("model=x", "model=x: several elements have model; write detect.model= or pose.model="),
        ("c.mp4", "'c.mp4' overrides nothing; write PROPERTY=VALUE or ELEMENT.PROPERTY=VALUE"),
        ("start=-1", "filesrc: start=-1 is not valid: it must be an integer of at least 0"),
    ],
)
def test_an_override_that_cannot_be_is_one_error_that_says_what_can(word: str, message: str) -> None:
    with pytest.raises(PosestreamError) as caught:
        override(parse_line(LINE), [word])
    assert str(caught.value).replace("`", "").startswith(message.replace("`", ""))


def test_a_line_that_ships_is_printed_with_its_comments_or_as_overridden(capsys: Capture) -> None:
    assert execute(["run", "file", "--print"]) == 0
    assert capsys.readouterr().out.startswith("# A video file")
    assert execute(["run", "file", "--print", "location=clip.mp4"]) == 0
    printed = capsys.readouterr().out
    assert "filesrc: {location: clip.mp4, camera: video}" in printed
    assert "jsonsink: {location: poses.jsonl}" in printed


def test_an_overridden_line_runs(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "line.yaml"
    file.write_text("line: [{testsrc: {width: 64, height: 64}}, {fakesink: {dump: true}}]\n")
    assert execute(["run", str(file), "num_frames=2", "camera=hall"]) == 0
    assert capsys.readouterr().out.splitlines() == ["hall 0 frame 64x64", "hall 1 frame 64x64"]


def test_what_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "line.yaml")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "line.yaml", "a pipe")):
        with pytest.raises(LaunchError, match=f"'{path}' is {kind}, not a file; save the line in a YAML file"):
            find_line(str(path))


@pytest.mark.parametrize("word", ["webcam", "my line.yaml"])
def test_a_whole_line_given_to_launch_is_refused_with_the_command_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my line.yaml").write_text("line: [testsrc, fakesink]")
    assert execute(["launch", word]) == 1
    command = "posestream run " + ("webcam" if word == "webcam" else "'my line.yaml'")
    assert capsys.readouterr().err == f"posestream: {word!r} is a whole line, not an element; type '{command}'\n"
