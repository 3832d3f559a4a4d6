"""Where a stream stands in the clip that it loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.evaluation.loop_alignment import Loop, apart, begin_of

MS = 1_000_000
CLIP = Loop((0, 40 * MS, 80 * MS, 120 * MS, 160 * MS), 200 * MS)
UNEVEN = Loop((0, 10, 50, 60), 100)


def test_a_turn_lasts_as_long_as_the_clip_and_one_frame() -> None:
    assert Loop.of([0, 40, 80]).turn_ns == 120
    assert Loop.of([0, 40, 80], 150).turn_ns == 150
    assert Loop.of([0]).number(0) == 0


def test_frames_are_counted_on_over_the_turns() -> None:
    assert [CLIP.number(frame) for frame in (0, 4, 5, 13)] == [0, 4, 0, 3]
    assert [CLIP.time_ns(frame) // MS for frame in (0, 4, 5, 13)] == [0, 160, 200, 520]


def test_the_nearest_frame_is_found_on_both_sides_of_a_turn() -> None:
    assert [UNEVEN.nearest(time) for time in (0, 4, 6, 29, 31, 79, 81, 104, 106)] == [0, 0, 1, 1, 2, 3, 4, 4, 5]


@given(st.integers(0, 400))
def test_a_frames_own_time_leads_to_it(frame: int) -> None:
    assert UNEVEN.nearest(UNEVEN.time_ns(frame)) == frame
    assert CLIP.placed(frame, [0, 40 * MS, 400 * MS]) == [frame, frame + 1, frame + 10]


def test_a_clock_that_was_set_shows() -> None:
    assert CLIP.strayed_ns(3, [0, 40 * MS, 97 * MS]) == [0, 0, 17 * MS]


@given(st.integers(0, 4), st.lists(st.integers(0, 30), min_size=2, max_size=8, unique=True))
def test_the_beginning_is_found_whatever_was_dropped(first: int, kept: list[int]) -> None:
    places = [0.0, 1.0, 4.0, 9.0, 16.0]  # where somebody is in each frame of the clip
    elapsed_ns = [40 * MS * frame for frame in kept]
    seen = [places[(first + frame) % 5] for frame in kept]
    begin = begin_of(CLIP, elapsed_ns, lambda item, number: abs(seen[item] - places[number]))
    assert begin.first == first
    assert begin.disagree == 0.0
    assert begin.is_clear


def test_a_clip_in_which_nothing_moves_begins_anywhere() -> None:
    assert not begin_of(CLIP, [0, 40 * MS], lambda item, number: 0.0).is_clear


# -- how far answers are apart ----------------------------------------------------------------------------------------

BOX = np.array([[0.0, 0.0, 50.0, 100.0]])
JOINTS = np.array([[[10.0, 10.0], [20.0, 20.0]]])
NO_PEOPLE = np.zeros((0, 4)), np.zeros((0, 2, 2))


def test_equal_answers_are_not_apart() -> None:
    assert apart(BOX, JOINTS, BOX, JOINTS) == 0.0
    assert apart(*NO_PEOPLE, *NO_PEOPLE) == 0.0


def test_people_whom_only_one_has_are_a_person_apart() -> None:
    assert apart(BOX, JOINTS, *NO_PEOPLE) == apart(*NO_PEOPLE, BOX, JOINTS) == 1.0
    assert apart(BOX, JOINTS, BOX + 500, JOINTS + 500) == 1.0
    two = np.concatenate([BOX, BOX + 500])
    assert apart(BOX, JOINTS, two, np.concatenate([JOINTS, JOINTS + 500])) == 0.5


def test_the_distance_is_a_mean_in_longer_sides_and_one_at_the_most() -> None:
    moved = JOINTS + np.array([[[3.0, 4.0], [0.0, 10.0]]])
    assert apart(BOX, moved, BOX, JOINTS) == pytest.approx(0.075)  # (5 + 10) / 2 of 100 px
    assert apart(BOX, JOINTS + 500, BOX, JOINTS) == 1.0
