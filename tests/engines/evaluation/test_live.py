"""The four readings, by hand on six frames, and what must hold for any run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.evaluation.live import Answer, answered, held, moments, streaming

STEP_NS = 100
FRAMES = range(6)
MOMENTS = [1000 + STEP_NS * frame for frame in FRAMES]


def said(frame: int, late_ns: int) -> Answer[str]:
    """An answer to one of six frames that are 100 ns apart, ``late_ns`` after it was captured."""
    return Answer(frame, MOMENTS[frame], MOMENTS[frame] + late_ns, f"about {frame}")


def frames_of(answers: list[Answer[str] | None]) -> list[int | None]:
    return [answer and answer.frame for answer in answers]


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_dropped_and_late_frames_by_hand() -> None:
    # Frames 2 and 3 were dropped; 1 took two frames and a half, 4 a frame and a half.
    answers = [said(0, 50), said(1, 250), said(4, 150), said(5, 10)]
    assert frames_of(answered(FRAMES, answers)) == [0, 1, None, None, 4, 5]
    # At frame 2 only the answer to 0 had come, and so at 3 (that to 1 came at 350).
    assert frames_of(held(FRAMES, MOMENTS, answers)) == [0, 1, 0, 0, 4, 5]
    assert frames_of(streaming(MOMENTS, answers)) == [None, 0, 0, 0, 1, 1]


def test_a_quick_line_that_drops_nothing_is_judged_by_the_frame_before() -> None:
    answers = [said(frame, 1) for frame in FRAMES]
    assert frames_of(held(FRAMES, MOMENTS, answers)) == [*FRAMES]
    assert frames_of(streaming(MOMENTS, answers)) == [None, 0, 1, 2, 3, 4]


def test_a_line_that_took_no_time_at_all_would_lose_nothing() -> None:
    answers = [said(frame, 0) for frame in FRAMES]
    assert streaming(MOMENTS, answers) == answered(FRAMES, answers) == answers


def test_before_anything_has_come_there_is_nothing() -> None:
    assert streaming(MOMENTS, []) == held(FRAMES, MOMENTS, []) == [None] * 6
    assert frames_of(streaming(MOMENTS, [said(0, 401)])) == [None] * 5 + [0]


def test_what_came_before_the_frames_that_are_judged_is_still_known() -> None:
    assert frames_of(streaming(MOMENTS[3:], [said(0, 50)])) == [0, 0, 0]


def test_an_old_frame_that_comes_late_does_not_displace_a_newer_one() -> None:
    assert frames_of(streaming(MOMENTS, [said(2, 50), said(1, 250)])) == [None, None, None, 2, 2, 2]


def test_an_answers_age_is_from_capture_to_arrival() -> None:
    assert Answer(0, 5_000_000, 7_500_000, "").age_ms == 2.5


# -- the moments of frames --------------------------------------------------------------------------------------------


def test_the_moment_of_a_dropped_frame_lies_between_its_neighbours() -> None:
    # The source lost 40 ns between frames 1 and 4: a dropped frame's share of it is that of its time.
    captured = {1: 1_764_000_000_000_000_100, 4: 1_764_000_000_000_000_440}
    answers = [Answer(frame, at_ns, at_ns, "") for frame, at_ns in captured.items()]
    found = moments([0, 100, 250, 310, 400, 500], FRAMES, answers)
    base = 1_764_000_000_000_000_000
    assert [at_ns - base for at_ns in found] == [0, 100, 270, 338, 440, 540]


def test_nobody_knows_when_frames_were_captured_of_which_none_was_answered() -> None:
    with pytest.raises(ValueError, match="none of these frames was answered"):
        moments([0, 100], [0, 1], [Answer(7, 0, 0, "")])


# -- any run ----------------------------------------------------------------------------------------------------------

runs = st.dictionaries(st.sampled_from(FRAMES), st.integers(0, 900)).map(
    lambda told: [said(frame, late_ns) for frame, late_ns in sorted(told.items())]
)


@given(runs)
def test_nothing_is_known_before_it_came_and_the_newest_of_that_is_taken(answers: list[Answer[str]]) -> None:
    for moment, found in zip(MOMENTS, streaming(MOMENTS, answers), strict=True):
        there = [answer.frame for answer in answers if answer.arrived_ns <= moment]
        assert (found.frame if found else None) == max(there, default=None)


@given(runs)
def test_held_is_the_own_answer_where_there_is_one_and_streaming_where_there_is_none(
    answers: list[Answer[str]],
) -> None:
    three = (answered(FRAMES, answers), held(FRAMES, MOMENTS, answers), streaming(MOMENTS, answers))
    for own, kept, present in zip(*three, strict=True):
        assert kept == (own or present)


@given(st.integers(0, 500))
def test_lateness_of_so_many_frames_costs_so_many(late_ns: int) -> None:
    answers = [said(frame, late_ns) for frame in FRAMES]
    behind = -(-late_ns // STEP_NS)
    assert frames_of(streaming(MOMENTS, answers)) == [frame - behind if frame >= behind else None for frame in FRAMES]


@given(runs, st.lists(st.integers(1, 10**9), min_size=6, max_size=6))
def test_moments_of_answered_frames_are_those_they_tell(answers: list[Answer[str]], steps_ns: list[int]) -> None:
    times_ns = [sum(steps_ns[: frame + 1]) for frame in FRAMES]
    if answers:
        found = moments(times_ns, FRAMES, answers)
        assert all(found[answer.frame] == answer.captured_ns for answer in answers)
