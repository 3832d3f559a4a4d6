"""Where a stream stands in the clip that it loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.evaluation.loop_alignment import Loop, find_start, people_difference

MS = 1_000_000
CLIP = Loop((0, 40 * MS, 80 * MS, 120 * MS, 160 * MS), 200 * MS)
UNEVEN = Loop((0, 10, 50, 60), 100)


def test_a_turn_lasts_as_long_as_the_clip_and_one_more_frame() -> None:
    assert Loop.from_times([0, 40, 80]).turn_ns == 120
    assert Loop.from_times([0, 40, 80], 150).turn_ns == 150
    assert Loop.from_times([0]).number(0) == 0


def test_frame_numbers_continue_over_the_turns() -> None:
    assert [CLIP.number(frame) for frame in (0, 4, 5, 13)] == [0, 4, 0, 3]
    assert [CLIP.time_ns(frame) // MS for frame in (0, 4, 5, 13)] == [0, 160, 200, 520]


def test_the_nearest_frame_is_found_on_both_sides_of_a_turn() -> None:
    assert [UNEVEN.nearest(time) for time in (0, 4, 6, 29, 31, 79, 81, 104, 106)] == [0, 0, 1, 1, 2, 3, 4, 4, 5]


@given(st.integers(0, 400))
def test_the_frame_nearest_to_a_frames_time_is_itself(frame: int) -> None:
    assert UNEVEN.nearest(UNEVEN.time_ns(frame)) == frame
    assert CLIP.frames_after(frame, [0, 40 * MS, 400 * MS]) == [frame, frame + 1, frame + 10]


def test_an_adjusted_clock_shows_in_the_deviations() -> None:
    assert CLIP.deviations_ns(3, [0, 40 * MS, 97 * MS]) == [0, 0, 17 * MS]


@given(st.integers(0, 4), st.lists(st.integers(0, 30), min_size=2, max_size=8, unique=True))
def test_the_start_is_found_with_dropped_frames(first: int, kept: list[int]) -> None:
    positions = [0.0, 1.0, 4.0, 9.0, 16.0]  # the position of a person in each frame of the clip
    elapsed_ns = [40 * MS * frame for frame in kept]
    seen = [positions[(first + frame) % 5] for frame in kept]
    begin = find_start(CLIP, elapsed_ns, lambda item, number: abs(seen[item] - positions[number]))
    assert begin.first == first
    assert begin.difference == 0.0
    assert begin.is_unambiguous


def test_the_start_of_a_clip_without_motion_is_ambiguous() -> None:
    assert not find_start(CLIP, [0, 40 * MS], lambda item, number: 0.0).is_unambiguous


# -- the difference of people -----------------------------------------------------------------------------------------

BOX = np.array([[0.0, 0.0, 50.0, 100.0]])
JOINTS = np.array([[[10.0, 10.0], [20.0, 20.0]]])
NO_PEOPLE = np.zeros((0, 4)), np.zeros((0, 2, 2))


def test_the_difference_of_equal_people_is_0() -> None:
    assert people_difference(BOX, JOINTS, BOX, JOINTS) == 0.0
    assert people_difference(*NO_PEOPLE, *NO_PEOPLE) == 0.0


def test_a_person_in_one_set_only_counts_as_1() -> None:
    assert people_difference(BOX, JOINTS, *NO_PEOPLE) == people_difference(*NO_PEOPLE, BOX, JOINTS) == 1.0
    assert people_difference(BOX, JOINTS, BOX + 500, JOINTS + 500) == 1.0
    two = np.concatenate([BOX, BOX + 500])
    assert people_difference(BOX, JOINTS, two, np.concatenate([JOINTS, JOINTS + 500])) == 0.5


def test_the_difference_is_a_mean_share_of_the_longer_side_and_at_most_1() -> None:
    moved = JOINTS + np.array([[[3.0, 4.0], [0.0, 10.0]]])
    assert people_difference(BOX, moved, BOX, JOINTS) == pytest.approx(0.075)  # (5 + 10) / 2 of 100 px
    assert people_difference(BOX, JOINTS + 500, BOX, JOINTS) == 1.0
