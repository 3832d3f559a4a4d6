"""The demo's score: all correct for the truth, all wrong for anything far from it."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from engines.datasets.synthetic.scene import Scene
from stream.cli import demo_score as module
from stream.cli.demo_score import Score, show
from stream.protocol.pose_message import Person, PoseMessage

SIZE = (320, 240)
FPS = 10.0


def message(seq: int, moved_px: float = 0.0, people: int | None = None, retained: bool = False) -> PoseMessage:
    """The exact truth about one frame, moved aside by so much; of the first ``people`` only."""
    truth = Scene(1, 3, *SIZE).at(seq / FPS, seq)
    keypoints = truth.keypoints + np.array([moved_px, 0, 0], np.float32)
    rows = range(len(truth.ids))[:people]
    persons = tuple(Person(int(truth.ids[i]), tuple(truth.boxes[i].tolist()), 1.0, keypoints[i]) for i in rows)
    return PoseMessage("demo", seq, seq, 0, 0, SIZE, "coco17", persons, received_ns=40_000_000 + seq * 100_000_000, retained=retained)  # fmt: skip # noqa: E501


@pytest.fixture
def score() -> Score:
    return Score(1, 3, *SIZE, FPS)


def test_the_truth_is_all_correct(score: Score) -> None:
    pck = score.score(message(seq=7))
    assert pck.total > 10
    assert float(pck) == 1.0


def test_keypoints_a_box_away_are_all_wrong(score: Score) -> None:
    assert float(score.score(message(seq=7, moved_px=200.0))) == 0.0


def test_a_person_not_found_counts_as_wrong(score: Score) -> None:
    whole, missing = score.score(message(seq=7)), score.score(message(seq=7, people=1))
    assert missing.total == whole.total
    assert 0 < missing.correct < whole.correct


def test_rate_age_and_ids_are_those_of_what_arrived(score: Score) -> None:
    for seq in range(5):
        score.observe(message(seq))
    assert score.messages == 5
    assert score.fps == pytest.approx(10.0)
    assert score.age_p95_ms == pytest.approx(440.0)
    assert "5 frames with keypoints, 10.0 per second, 3 ids" in score.summary()
    assert "PCK@0.2 now 100.0 %" in score.format_line()


def test_the_streaming_score_is_that_of_the_message_known_at_each_frame(
    score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame 1 is known before frame 2 is captured; arms move by less than a fifth of a box in that time."""
    monkeypatch.setattr(module, "_SCORE_S", 0.0)
    for seq in (1, 2):
        late = dataclasses.replace(message(seq), wall_ns=seq * 100_000_000, received_ns=seq * 100_000_000 + 30_000_000)
        score.observe(late)
    assert score.streaming.total == score.score(message(2)).total
    assert 0.9 < float(score.streaming) <= 1.0
    assert f"streaming {100 * float(score.streaming):.1f} %" in score.format_line()
    assert "Streaming PCK@0.2" in score.summary()


def test_an_old_message_for_new_subscribers_is_not_counted(score: Score) -> None:
    score.observe(message(seq=1, retained=True))
    assert score.messages == 0
    assert "–" in score.format_line()


def test_without_a_terminal_there_is_a_line_a_second(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    with show(score) as refresh:
        refresh()
        score.observe(message(seq=1))
        refresh()
        refresh()
    assert capsys.readouterr().out.count("1 frame, ") == 1


def test_on_a_terminal_there_is_a_table(score: Score) -> None:
    screen = io.StringIO()
    score.observe(message(seq=3))
    Console(file=screen, width=80).print(module._render(score))
    assert "PCK@0.2 now 100.0 %" in screen.getvalue()
    assert "demo" in screen.getvalue()
