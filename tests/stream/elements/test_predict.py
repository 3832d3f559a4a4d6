"""Forecasts beside the keypoints that were seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.forecasting.forecaster import GAINS
from stream.element import Context
from stream.elements.predict import Predict
from stream.errors import PropertyError
from stream.messages import NO_ID, Frame, Poses, Truth
from stream.protocol import schema
from stream.protocol.pose_message import PoseMessage
from stream.registry import make
from stream.testing import Harness, check_element

PERIOD_MS = 40
BOX = np.array([[0, 0, 50, 100]], np.float32)
POINTS = np.linspace(10, 90, 34).reshape(1, 17, 2)
STEP_PX = 4.0
"""Per frame, so 100 px/s."""


def poses_at(seq: int, *, ids: Sequence[int] = (1,), camera: str = "hall", pts_ms: int | None = None) -> Poses:
    """A person who moves to the right, 12 ms old when asked about at ``now_ns``."""
    at_ns = (seq * PERIOD_MS if pts_ms is None else pts_ms) * 1_000_000
    frame = Frame(camera, seq, at_ns, 10**18 + at_ns, np.zeros((4, 4, 3), np.uint8))
    points = POINTS + np.array([seq * STEP_PX, 0])
    keypoints = np.concatenate([points, np.full((1, 17, 1), 0.8)], -1).astype(np.float32)
    return Poses(frame, BOX, np.ones(1, np.float32), np.array(ids), keypoints, "coco17")


def push(element: Predict, items: Sequence[Poses], age_ms: float = 12.0) -> list[Poses]:
    """Each item through the element, so long after its capture."""
    now = {"ns": 0}
    element.context = Context(now_ns=lambda: now["ns"])
    found: list[Poses] = []
    with element:
        for item in items:
            now["ns"] = item.frame.wall_ns + round(age_ms * 1e6)
            found += element.process(item)
    return found


def speeds(poses: Poses) -> NDArray[np.float32]:
    assert poses.forecast is not None
    return poses.forecast.joints[0, :, 2]


@pytest.mark.parametrize("line", ["predict", "predict horizon=50", "predict horizon=0"])
def test_it_is_an_element(line: str) -> None:
    check_element(line)


def test_what_was_seen_is_unchanged_and_the_forecast_is_for_the_stated_moment() -> None:
    items = [poses_at(0), poses_at(1)]
    found = push(Predict(horizon=80.0), items)
    for item, out in zip(items, found, strict=True):
        assert out.keypoints is item.keypoints
        assert out.forecast is not None
        assert out.forecast.for_ns == item.frame.wall_ns + 80_000_000
        assert out.forecast.until_ns == item.frame.wall_ns + 180_000_000
    assert not speeds(found[0]).any()
    np.testing.assert_allclose(speeds(found[1]), GAINS[0] * 100, rtol=1e-5)
    moved = found[1].forecast.joints[0, :, 0] - items[1].keypoints[0, :, 0]  # type: ignore[union-attr]
    np.testing.assert_allclose(moved, GAINS[0] * 8, rtol=1e-4)


def test_auto_is_the_age_and_half_a_frame_period() -> None:
    found = push(Predict(), [poses_at(seq) for seq in range(4)])
    ahead = [(out.forecast.for_ns - out.frame.wall_ns) / 1e6 for out in found if out.forecast]
    assert ahead == [12, 32, 32, 32]
    late = push(Predict(), [poses_at(seq) for seq in range(2)], age_ms=5000)[-1]
    assert late.forecast is not None
    assert late.forecast.for_ns == late.forecast.until_ns == late.frame.wall_ns + 250_000_000


def test_a_source_that_is_slower_than_its_clock_moves_slower_too() -> None:
    """Frames of 40 ms that take 80: people move at half the speed by the clock of those who read."""
    items = [poses_at(seq) for seq in range(40)]
    slow = [
        dataclasses.replace(one, frame=dataclasses.replace(one.frame, wall_ns=10**18 + 2 * one.frame.pts_ns))
        for one in items
    ]
    usual, found = (push(Predict(horizon=80.0), given)[-1] for given in (items, slow))
    assert usual.forecast is not None
    assert found.forecast is not None
    ahead = [one.forecast.joints[0, :, 0] - one.keypoints[0, :, 0] for one in (usual, found) if one.forecast]
    np.testing.assert_allclose(ahead[1], ahead[0] / 2, rtol=0.02)
    np.testing.assert_allclose(speeds(found), speeds(usual) / 2, rtol=0.02)


def test_a_horizon_of_zero_is_silent() -> None:
    items = [poses_at(0), poses_at(1)]
    assert all(out is item for out, item in zip(push(Predict(horizon=0.0), items), items, strict=True))


def test_people_without_an_id_stay() -> None:
    found = push(Predict(horizon=80.0), [poses_at(seq, ids=[NO_ID]) for seq in range(3)])[-1]
    assert found.forecast is not None
    np.testing.assert_array_equal(found.forecast.joints[0, :, :2], found.keypoints[0, :, :2])
    np.testing.assert_array_equal(found.forecast.joints[0, :, 2:], [[0, 0, 3]] * 17)


def test_a_clock_that_goes_back_begins_anew() -> None:
    found = push(Predict(horizon=80.0), [poses_at(0), poses_at(1), poses_at(2, pts_ms=0), poses_at(3, pts_ms=40)])
    assert [bool(speeds(one).any()) for one in found] == [False, True, False, True]


def test_cameras_have_memories_of_their_own() -> None:
    items = [poses_at(seq, camera=camera) for seq in range(3) for camera in ("hall", "yard")]
    found = push(Predict(horizon=80.0), items)
    np.testing.assert_array_equal(speeds(found[-1]), speeds(found[-2]))


def test_a_subscriber_reads_people_where_they_are() -> None:
    sent = push(Predict(horizon=80.0), [poses_at(0), poses_at(1)])[-1]
    message = schema.decode(schema.encode_poses(sent, session="0" * 16, seq=0))
    assert isinstance(message, PoseMessage)
    read = message.at(message.wall_ns + 120_000_000).people[0]
    np.testing.assert_allclose(read.keypoints[:, 0], sent.keypoints[0, :, 0] + GAINS[0] * 12, rtol=1e-4)
    np.testing.assert_allclose(read.box, BOX[0] + [GAINS[0] * 12, 0] * 2, rtol=1e-4)


def test_its_status_tells_what_the_forecasts_were_off_by() -> None:
    element = Predict(horizon=80.0)
    push(element, [poses_at(seq) for seq in range(60)])
    assert element.status() == "hall 80 ms ahead, off by 0.1 px where holding is by 8.0 px"


def test_its_status_tells_the_streaming_error_where_there_is_truth() -> None:
    """Each frame is known 12 ms after its capture, so before the next one, whose truth is 4 px away."""
    items = []
    for seq in range(60):
        item = poses_at(seq)
        keypoints = np.concatenate([item.keypoints[..., :2], np.full((1, 17, 1), 2, np.float32)], -1)
        truth = Truth(BOX, np.array([1]), keypoints)
        items.append(dataclasses.replace(item, frame=dataclasses.replace(item.frame, truth=truth)))
    element = Predict()
    push(element, items)
    assert element.status().endswith("; streaming error 0.0 px, 4.0 px held")


def test_a_wrong_horizon_is_an_error() -> None:
    with pytest.raises(PropertyError) as caught:
        make("predict", horizon="300")
    assert str(caught.value) == (
        "predict: horizon=300 is not valid: it must be a number of at most 250; see 'posestream inspect predict'"
    )


def test_it_forgets_at_the_end() -> None:
    with Harness(Predict(horizon=80.0)) as harness:
        harness.push(poses_at(0))
        harness.push(poses_at(1))
        harness.flush()
        (found,) = harness.push(poses_at(2))
    assert not speeds(found).any()
