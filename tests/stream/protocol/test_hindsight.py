"""What was known at the moment of a frame, and how far it was off."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stream.protocol.hindsight import Hindsight, measure_error
from stream.protocol.pose_message import Person, PoseMessage

PERIOD_NS, STEP_PX = 50_000_000, 4.0


def message(seq: int, late_ms: float = 20.0, *, camera: str = "hall", has_forecast: bool = False) -> PoseMessage:
    """A person who moves 4 px to the right per frame, arrived so late."""
    keypoints = np.array([[seq * STEP_PX, 10, 0.9], [seq * STEP_PX, 20, 0.9], [0, 0, 0.1]], np.float32)
    speed = STEP_PX / PERIOD_NS * 1e9
    predicted = np.array([[x + STEP_PX, y, speed, 0, 1] for x, y, _ in keypoints], np.float32)
    person = Person(1, (0, 0, 9, 9), 0.9, keypoints, predicted=predicted if has_forecast else None)
    wall_ns = seq * PERIOD_NS
    received_ns = wall_ns + round(late_ms * 1e6)
    found = PoseMessage(camera, seq, seq, wall_ns, wall_ns, (64, 48), "x", (person,), received_ns=received_ns)
    if not has_forecast:
        return found
    return dataclasses.replace(found, predicted_for_ns=wall_ns + PERIOD_NS, predicted_until_ns=wall_ns + 4 * PERIOD_NS)


@pytest.mark.parametrize(("late_ms", "frames_old"), [(20.0, 1), (60.0, 2), (120.0, 3)])
def test_a_reader_without_forecasts_is_behind_by_whole_frames(late_ms: float, frames_old: int) -> None:
    hindsight = Hindsight()
    found = [hindsight.observe(message(seq, late_ms)) for seq in range(6)]
    assert [one is None for one in found] == [seq < frames_old for seq in range(6)]
    assert found[5] is not None
    assert measure_error(found[5], message(5)) == pytest.approx(STEP_PX * frames_old)


@pytest.mark.parametrize("late_ms", [20.0, 60.0, 120.0])
def test_exact_forecasts_are_exact_at_any_age(late_ms: float) -> None:
    hindsight = Hindsight()
    found = [hindsight.observe(message(seq, late_ms, has_forecast=True)) for seq in range(6)][-1]
    assert found is not None
    assert measure_error(found, message(5)) == pytest.approx(0.0, abs=1e-4)


def test_cameras_are_apart() -> None:
    hindsight = Hindsight()
    hindsight.observe(message(0, camera="yard"))
    assert hindsight.observe(message(1)) is None


def test_people_who_are_not_in_both_are_not_compared() -> None:
    one, other = message(0), message(1)
    gone = dataclasses.replace(other, people=(dataclasses.replace(other.people[0], id=2),))
    assert measure_error(one, gone) is None
    unseen = dataclasses.replace(other.people[0], keypoints=other.people[0].keypoints * np.float32(0))
    assert measure_error(one, dataclasses.replace(other, people=(unseen,))) is None
