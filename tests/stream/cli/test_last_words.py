"""What parts say on stderr reaches the reader once."""

from __future__ import annotations

import pytest

from stream.cli.line_runner import LastWords


def test_a_complaint_that_ends_the_line_is_left_to_the_error_that_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    LastWords().hear("filesrc", "filesrc: there is no 'x.mp4'")
    assert capsys.readouterr().err == ""


def test_a_complaint_after_which_the_line_goes_on_is_printed_and_names_its_part_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = LastWords()
    words.hear("pose", "pose: the third frame was no good")
    words.hear("track", "a warning")
    words.hear("pose", "pose: nor was the fourth")
    words.say()
    assert capsys.readouterr().err.splitlines() == [
        "pose: the third frame was no good",
        "track: a warning",
        "pose: nor was the fourth",
    ]
