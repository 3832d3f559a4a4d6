"""The demo's score against what it ought to be: all right for the truth, all wrong for anything far from it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from engines.datasets.synthetic.scene import Scene
from stream.cli import demo_score as module
from stream.cli.demo_score import Score, showing
from stream.protocol.schema import Person, PoseMessage

SIZE = (320, 240)
FPS = 10.0


def message(seq: int, moved_px: float = 0.0, people: int | None = None, retained: bool = False) -> PoseMessage:
    """The exact truth about one frame, moved aside by so much; of the first ``people`` only."""
    truth = Scene(1, 3, *SIZE).at(seq / FPS, seq)
    keypoints = truth.keypoints + np.float32([moved_px, 0, 0])
    rows = range(len(truth.ids))[:people]
    persons = tuple(Person(int(truth.ids[i]), tuple(truth.boxes[i].tolist()), 1.0, keypoints[i]) for i in rows)
    return PoseMessage("demo", seq, seq, 0, 0, SIZE, "coco17", persons, received_ns=40_000_000 + seq * 100_000_000, retained=retained)  # fmt: skip # noqa: E501


@pytest.fixture
def score() -> Score:
    return Score(1, 3, *SIZE, FPS)


def test_the_truth_is_all_right(score: Score) -> None:
    judged = score.judge(message(seq=7))
    assert judged.total > 10
    assert float(judged) == 1.0


def test_keypoints_a_box_away_are_all_wrong(score: Score) -> None:
    assert float(score.judge(message(seq=7, moved_px=200.0))) == 0.0


def test_a_person_not_found_counts_as_wrong(score: Score) -> None:
    whole, missing = score.judge(message(seq=7)), score.judge(message(seq=7, people=1))
    assert missing.total == whole.total
    assert 0 < missing.correct < whole.correct


def test_rate_age_and_ids_are_those_of_what_arrived(score: Score) -> None:
    for seq in range(5):
        score.observe(message(seq))
    assert score.messages == 5
    assert score.fps == pytest.approx(10.0)
    assert score.age_p95_ms == pytest.approx(440.0)
    assert "5 frames with keypoints, 10.0 a second, ids seen: 3" in score.summary()
    assert "PCK@0.2 now 100.0 %" in score.line()


def test_what_a_newcomer_is_given_from_the_past_is_not_counted(score: Score) -> None:
    score.observe(message(seq=1, retained=True))
    assert score.messages == 0
    assert "–" in score.line()


def test_without_a_terminal_there_is_a_line_now_and_then(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    with showing(score) as refresh:
        refresh()
        score.observe(message(seq=1))
        refresh()
        refresh()
    assert capsys.readouterr().out.count("1 frames, ") == 1


def test_on_a_terminal_there_is_a_table(score: Score) -> None:
    screen = io.StringIO()
    score.observe(message(seq=3))
    Console(file=screen, width=120).print(module._picture(score))
    assert "PCK@0.2 now 100.0 %" in screen.getvalue()
    assert "demo" in screen.getvalue()
