"""Comparison of two engines: distances checked by hand, and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from engines.errors import EngineError
from engines.inference.comparison import Comparison, compare
from engines.inference.engine import Engine, Keypoints, PersonWindows
from engines.spec.signature import Signature

SIGNATURE = Signature(name="toy", input_size=(96, 128), enlarge=1.0)


class Toy:
    """Finds every joint ``moved`` px right of the box's top left corner, the first ``first_joint`` px further."""

    def __init__(self, moved: float = 0.0, first_joint: float = 0.0, signature: Signature = SIGNATURE) -> None:
        self.signature, self.moved, self.first_joint = signature, moved, first_joint
        self.calls = 0

    def estimate(self, requests: Sequence[PersonWindows]) -> list[Keypoints]:
        self.calls += 1
        return [self._found(window) for window in requests]

    def _found(self, window: PersonWindows) -> Keypoints:
        found = np.zeros((len(window), 17, 3), np.float32)
        found[..., :2] = window.boxes[:, None, :2]
        found[..., 0] += self.moved
        found[:, 0, 0] += self.first_joint
        found[..., 2] = 0.5 + self.moved / 100
        return found


def window(number: int, people: int = 1) -> PersonWindows:
    boxes = np.array([[10, 20, 58, 84]] * people, np.float32).reshape(-1, 4)  # half as large as the crop
    return PersonWindows((np.zeros((120, 160, 3), np.uint8),), (("toy", number),), boxes, np.arange(people))


def compare_toys(first: Toy, second: Toy, *windows: PersonWindows) -> Comparison:
    return compare(cast(Engine, first), cast(Engine, second), windows)


def test_an_engine_agrees_with_itself() -> None:
    comparison = compare_toys(Toy(), Toy(), window(0), window(1, people=2))
    assert comparison.people == 3
    assert comparison.agrees(0.0)
    assert float(comparison.compute_pck(0.01)) == 1.0


def test_distances_are_in_frame_pixels_and_in_crop_pixels() -> None:
    comparison = compare_toys(Toy(), Toy(moved=3.0), window(0))
    assert comparison.compute_spread(lambda one: one.frame_px).mean == pytest.approx(3.0)
    assert comparison.compute_spread(lambda one: one.crop_px).max == pytest.approx(6.0)
    assert comparison.compute_spread(lambda one: one.scores).mean == pytest.approx(0.03)
    assert not comparison.agrees(5.9)
    assert comparison.agrees(6.1)


def test_one_keypoint_in_a_hundred_may_be_off_but_not_two() -> None:
    near = [window(number, people=6) for number in range(5)]
    # 6 of 1530 keypoints lie far away, then 90.
    rare = compare_toys(Toy(), Toy(), *near[:4])
    rare.differences.extend(compare_toys(Toy(), Toy(first_joint=50), window(9, people=6)).differences)
    rare.differences.extend(compare_toys(Toy(), Toy(), *[window(n, people=6) for n in range(10, 20)]).differences)
    assert rare.agrees(2.0)
    assert rare.compute_spread(lambda one: one.crop_px).max == pytest.approx(100)
    assert not compare_toys(Toy(), Toy(first_joint=50), *near).agrees(2.0)


def test_pck_is_relative_to_the_box() -> None:
    # The longer side of the box is 64 px: 0.05 of it are 3.2.
    comparison = compare_toys(Toy(), Toy(moved=3.0), window(0))
    assert float(comparison.compute_pck(0.05)) == 1.0
    assert float(comparison.compute_pck(0.04)) == 0.0


def test_the_worst_window_is_the_one_with_the_largest_difference() -> None:
    comparison = compare_toys(Toy(), Toy(), window(0))
    comparison.differences.extend(compare_toys(Toy(), Toy(moved=2.0), window(7)).differences)
    assert comparison.worst.window.keys == (("toy", 7),)


def test_the_first_window_runs_twice_and_is_timed_once() -> None:
    first, second = Toy(), Toy()
    comparison = compare_toys(first, second, window(0), window(1))
    assert (first.calls, second.calls) == (3, 3)
    assert len(comparison.first_s) == len(comparison.second_s) == 2


def test_windows_without_people_are_left_out_and_no_people_at_all_raise() -> None:
    assert len(compare_toys(Toy(), Toy(), window(0, people=0), window(1)).differences) == 1
    with pytest.raises(EngineError) as caught:
        compare_toys(Toy(), Toy(), window(0, people=0))
    assert str(caught.value).startswith("no window has people")


@pytest.mark.parametrize("changed", [{"past": 2}, {"skeleton": "posetrack17"}])
def test_engines_of_different_windows_or_skeletons_raise(changed: dict[str, Any]) -> None:
    other = Signature(name="other", input_size=(96, 128), **changed)
    with pytest.raises(EngineError) as caught:
        compare_toys(Toy(), Toy(signature=other), window(0))
    message = str(caught.value)
    assert "\n" not in message
    assert "'toy' returns coco17 of past 0, future 0 and 'other' returns" in message
    assert "only networks of one skeleton and window can be compared" in message
