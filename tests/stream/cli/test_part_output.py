"""What parts write to stderr is printed once."""

from __future__ import annotations

import pytest

from stream.cli.line_runner import PartOutput


def test_a_line_that_names_its_part_is_left_to_the_error_that_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    PartOutput().print_line("filesrc", "filesrc: there is no 'x.mp4'")
    assert capsys.readouterr().err == ""


def test_it_is_printed_when_the_line_goes_on_and_names_its_part_once(capsys: pytest.CaptureFixture[str]) -> None:
    output = PartOutput()
    output.print_line("pose", "pose: the third frame was no good")
    output.print_line("track", "a warning")
    output.print_line("pose", "pose: nor was the fourth")
    output.flush()
    assert capsys.readouterr().err.splitlines() == [
        "pose: the third frame was no good",
        "track: a warning",
        "pose: nor was the fourth",
    ]
