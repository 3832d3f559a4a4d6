"""The readings of a live evaluation: by hand on six frames, and their properties for any run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.evaluation.live import Answer, capture_times, held_answers, own_answers, streaming_answers

STEP_NS = 100
FRAMES = range(6)
TIMES = [1000 + STEP_NS * frame for frame in FRAMES]


def make_answer(frame: int, late_ns: int) -> Answer[str]:
    """An answer to one of six frames 100 ns apart, ``late_ns`` after its capture."""
    return Answer(frame, TIMES[frame], TIMES[frame] + late_ns, f"about {frame}")


def list_frames(answers: list[Answer[str] | None]) -> list[int | None]:
    return [answer.frame if answer else None for answer in answers]


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_dropped_and_late_frames_by_hand() -> None:
    # Frames 2 and 3 were dropped; 1 took two and a half frames, 4 one and a half.
    answers = [make_answer(0, 50), make_answer(1, 250), make_answer(4, 150), make_answer(5, 10)]
    assert list_frames(own_answers(FRAMES, answers)) == [0, 1, None, None, 4, 5]
    # At frames 2 and 3 only the answer to 0 had arrived (that to 1 arrived at 350).
    assert list_frames(held_answers(FRAMES, TIMES, answers)) == [0, 1, 0, 0, 4, 5]
    assert list_frames(streaming_answers(TIMES, answers)) == [None, 0, 0, 0, 1, 1]


def test_a_latency_below_one_frame_shifts_streaming_answers_by_one() -> None:
    answers = [make_answer(frame, 1) for frame in FRAMES]
    assert list_frames(held_answers(FRAMES, TIMES, answers)) == [*FRAMES]
    assert list_frames(streaming_answers(TIMES, answers)) == [None, 0, 1, 2, 3, 4]


def test_without_latency_streaming_answers_are_the_own_ones() -> None:
    answers = [make_answer(frame, 0) for frame in FRAMES]
    assert streaming_answers(TIMES, answers) == own_answers(FRAMES, answers) == answers


def test_there_is_no_answer_before_the_first_arrives() -> None:
    assert streaming_answers(TIMES, []) == held_answers(FRAMES, TIMES, []) == [None] * 6
    assert list_frames(streaming_answers(TIMES, [make_answer(0, 401)])) == [None] * 5 + [0]


def test_answers_before_the_evaluated_frames_count() -> None:
    assert list_frames(streaming_answers(TIMES[3:], [make_answer(0, 50)])) == [0, 0, 0]


def test_a_late_answer_to_an_older_frame_does_not_replace_a_newer_one() -> None:
    assert list_frames(streaming_answers(TIMES, [make_answer(2, 50), make_answer(1, 250)])) == [
        None,
        None,
        None,
        2,
        2,
        2,
    ]


def test_the_age_of_an_answer_is_from_capture_to_arrival() -> None:
    assert Answer(0, 5_000_000, 7_500_000, "").age_ms == 2.5


# -- the moments of frames --------------------------------------------------------------------------------------------


def test_the_capture_time_of_a_dropped_frame_is_interpolated() -> None:
    # The source lost 40 ns between frames 1 and 4: a dropped frame's share of it is that of its time.
    captured = {1: 1_764_000_000_000_000_100, 4: 1_764_000_000_000_000_440}
    answers = [Answer(frame, at_ns, at_ns, "") for frame, at_ns in captured.items()]
    found = capture_times([0, 100, 250, 310, 400, 500], FRAMES, answers)
    base = 1_764_000_000_000_000_000
    assert [at_ns - base for at_ns in found] == [0, 100, 270, 338, 440, 540]


def test_capture_times_without_answers_are_an_error() -> None:
    with pytest.raises(ValueError, match="none of these frames was answered"):
        capture_times([0, 100], [0, 1], [Answer(7, 0, 0, "")])


# -- any run ----------------------------------------------------------------------------------------------------------

runs = st.dictionaries(st.sampled_from(FRAMES), st.integers(0, 900)).map(
    lambda late: [make_answer(frame, late_ns) for frame, late_ns in sorted(late.items())]
)


@given(runs)
def test_streaming_takes_the_newest_answer_that_has_arrived(answers: list[Answer[str]]) -> None:
    for moment, found in zip(TIMES, streaming_answers(TIMES, answers), strict=True):
        there = [answer.frame for answer in answers if answer.arrived_ns <= moment]
        assert (found.frame if found else None) == max(there, default=None)


@given(runs)
def test_held_is_the_own_answer_or_else_the_streaming_one(
    answers: list[Answer[str]],
) -> None:
    three = (own_answers(FRAMES, answers), held_answers(FRAMES, TIMES, answers), streaming_answers(TIMES, answers))
    for own, kept, present in zip(*three, strict=True):
        assert kept == (own or present)


@given(st.integers(0, 500))
def test_a_latency_of_n_frames_shifts_streaming_answers_by_n(late_ns: int) -> None:
    answers = [make_answer(frame, late_ns) for frame in FRAMES]
    behind = -(-late_ns // STEP_NS)
    assert list_frames(streaming_answers(TIMES, answers)) == [
        frame - behind if frame >= behind else None for frame in FRAMES
    ]


@given(runs, st.lists(st.integers(1, 10**9), min_size=6, max_size=6))
def test_capture_times_of_answered_frames_are_their_own(answers: list[Answer[str]], steps_ns: list[int]) -> None:
    times_ns = [sum(steps_ns[: frame + 1]) for frame in FRAMES]
    if answers:
        found = capture_times(times_ns, FRAMES, answers)
        assert all(found[answer.frame] == answer.captured_ns for answer in answers)
