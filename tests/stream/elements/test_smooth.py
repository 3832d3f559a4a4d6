"""The One-Euro filter on keypoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.elements.smooth import Smooth
from stream.errors import PropertyError
from stream.messages import Frame, Poses
from stream.registry import make
from stream.testing import Harness, check_element

FPS = 30.0


def poses_at(
    seq: int,
    points: NDArray[np.float64],
    *,
    pts_ns: int | None = None,
    ids: Sequence[int] = (1,),
    camera: str = "hall",
) -> Poses:
    """People at ``points`` (N, K, 2) px in frame ``seq``."""
    at_ns = round(seq * 1e9 / FPS) if pts_ns is None else pts_ns
    frame = Frame(camera, seq, at_ns, at_ns, np.zeros((4, 4, 3), np.uint8))
    scores = np.full((*points.shape[:2], 1), 0.5)
    keypoints = np.concatenate([points, scores], axis=2).astype(np.float32)
    count = len(points)
    return Poses(
        frame, np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.array(ids), keypoints, "coco17"
    )


def smooth_track(track: NDArray[np.float64], element: Smooth | None = None) -> NDArray[np.float32]:
    """One person's ``track`` (T, K, 2) px, frame by frame through the element."""
    items = [poses_at(seq, points[None]) for seq, points in enumerate(track)]
    return np.stack([out.keypoints[0, :, :2] for out in Harness(element or Smooth()).push_all(items)])


class OneEuro:
    """Algorithm 1 of the paper, for one number."""

    def __init__(self, min_cutoff: float, beta: float, d_cutoff: float) -> None:
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.x: float | None = None
        self.dx = 0.0
        self.t = 0.0

    def __call__(self, t: float, x: float) -> float:
        if self.x is None:
            self.t, self.x = t, x
            return x
        rate = 1 / (t - self.t)
        dx = (x - self.x) * rate
        self.dx = self.low_pass(dx, self.dx, self.alpha(rate, self.d_cutoff))
        cutoff = self.min_cutoff + self.beta * abs(self.dx)
        self.x = self.low_pass(x, self.x, self.alpha(rate, cutoff))
        self.t = t
        return self.x

    @staticmethod
    def alpha(rate: float, cutoff: float) -> float:
        tau = 1.0 / (2 * math.pi * cutoff)
        te = 1.0 / rate
        return 1.0 / (1.0 + tau / te)

    @staticmethod
    def low_pass(x: float, previous: float, alpha: float) -> float:
        return alpha * x + (1 - alpha) * previous


def reference(times: Iterable[float], values: Iterable[float], smooth: Smooth) -> list[float]:
    step = OneEuro(smooth.min_cutoff, smooth.beta, smooth.d_cutoff)
    return [step(t, x) for t, x in zip(times, values, strict=True)]


def test_smooth_is_an_element() -> None:
    check_element("smooth")


def test_it_equals_the_algorithm_of_the_paper_also_at_a_varying_frame_rate() -> None:
    random = np.random.default_rng(3)
    steps_ns = random.integers(10_000_000, 90_000_000, 200)
    pts_ns = np.cumsum(steps_ns)
    track = np.cumsum(random.normal(0, 8, (200, 17, 2)), axis=0) + 400
    smooth = Smooth(min_cutoff=0.8, beta=0.02, d_cutoff=1.3)
    items = [poses_at(seq, track[seq][None], pts_ns=int(pts_ns[seq])) for seq in range(200)]
    ours = np.stack([out.keypoints[0, :, :2] for out in Harness(smooth).push_all(items)])
    given = track.astype(np.float32).astype(np.float64)  # what the element is given is float32
    for joint in range(17):
        for axis in range(2):
            theirs = reference(pts_ns / 1e9, given[:, joint, axis], smooth)
            # Positions of some hundred px come out as float32, whose steps there are 6e-5.
            np.testing.assert_allclose(ours[:, joint, axis], theirs, rtol=0, atol=1e-4)


def test_a_point_at_rest_is_unchanged() -> None:
    still = np.full((100, 17, 2), 321.125)
    assert (smooth_track(still) == still).all()


def test_jitter_at_rest_is_reduced() -> None:
    noise = np.random.default_rng(0).normal(0, 2.0, (600, 17, 2)) + 500
    settled = smooth_track(noise)[60:]
    # The formula for white noise through a first-order low-pass of gain a is a / (2 - a); at rest a is 0.17, so 0.09 of
    # the variance is left. The noise itself looks like speed and opens the filter, hence the room up to a quarter.
    assert settled.var(axis=0).mean() < 0.25 * noise[60:].var(axis=0).mean()


def test_jitter_from_frame_to_frame_is_reduced() -> None:
    noise = np.random.default_rng(1).normal(0, 2.0, (600, 17, 2)) + 500
    shake = np.abs(np.diff(noise[60:], axis=0)).mean()
    assert np.abs(np.diff(smooth_track(noise)[60:], axis=0)).mean() < 0.5 * shake


@pytest.mark.parametrize("speed_px_s", [20.0, 200.0, 2000.0])
def test_the_lag_behind_a_moving_point_is_bounded_and_shrinks_with_speed(speed_px_s: float) -> None:
    times_s = np.arange(120) / FPS
    track = np.broadcast_to((times_s * speed_px_s)[:, None, None], (120, 17, 2)).astype(np.float64)
    smooth = Smooth()
    lag_px = (track - smooth_track(track, smooth))[60:].max()
    # A first-order low-pass follows a ramp at a distance of speed x its time constant; the cut-off here is that of the
    # speed, once the speed is known. A twentieth for float32 and for the last of the settling.
    cutoff_hz = smooth.min_cutoff + smooth.beta * speed_px_s
    assert lag_px <= 1.05 * speed_px_s / (2 * math.pi * cutoff_hz)
    assert lag_px / speed_px_s < 0.16  # seconds: never later than the cut-off at rest makes it


def test_the_docstring_has_the_measured_jitter_and_lag() -> None:
    noise = np.random.default_rng(0).normal(0, 1.0, (600, 17, 2)) + 500
    ramp = np.broadcast_to((np.arange(120) / FPS * 300.0)[:, None, None], (120, 17, 2)).astype(np.float64)
    late_ms = (ramp - smooth_track(ramp))[60:].max() / 300.0 * 1000
    assert smooth_track(noise)[60:].std() == pytest.approx(1 / 3, abs=0.05)  # "a third"
    assert round(late_ms) == 16


def test_people_and_cameras_are_smoothed_independently() -> None:
    random = np.random.default_rng(5)
    tracks = random.normal(300, 5, (3, 40, 17, 2))
    together = Harness(Smooth())
    for seq in range(40):
        order, ids = ([0, 1], (7, 8)) if seq % 2 else ([1, 0], (8, 7))
        (both,) = together.push(poses_at(seq, tracks[order, seq], ids=ids))
        (other,) = together.push(poses_at(seq, tracks[2, seq][None], ids=(7,), camera="yard"))
    alone = [smooth_track(track)[-1] for track in tracks]
    first, second = (0, 1) if seq % 2 else (1, 0)
    np.testing.assert_array_equal(both.keypoints[first, :, :2], alone[0])
    np.testing.assert_array_equal(both.keypoints[second, :, :2], alone[1])
    np.testing.assert_array_equal(other.keypoints[0, :, :2], alone[2])


def test_the_filter_is_reset_after_max_gap_ms() -> None:
    box = Harness(Smooth(max_gap_ms=200.0))
    box.push(poses_at(0, np.full((1, 17, 2), 100.0), pts_ns=0))
    (near,) = box.push(poses_at(1, np.full((1, 17, 2), 110.0), pts_ns=200_000_000))
    (afar,) = box.push(poses_at(2, np.full((1, 17, 2), 500.0), pts_ns=401_000_000))
    assert 100.0 < near.keypoints[0, 0, 0] < 110.0
    assert (afar.keypoints[0, :, :2] == 500.0).all()


def test_the_filters_are_reset_when_the_clock_goes_back() -> None:
    box = Harness(Smooth())
    box.push(poses_at(0, np.full((1, 17, 2), 100.0), pts_ns=5_000_000_000))
    (again,) = box.push(poses_at(1, np.full((1, 17, 2), 300.0), pts_ns=0))
    assert (again.keypoints[0, :, :2] == 300.0).all()


def test_scores_and_people_without_an_id_are_unchanged() -> None:
    box = Harness(Smooth())
    box.push(poses_at(0, np.full((1, 17, 2), 100.0), ids=(-1,)))
    given = poses_at(1, np.full((1, 17, 2), 120.0), ids=(-1,))
    (out,) = box.push(given)
    np.testing.assert_array_equal(out.keypoints, given.keypoints)
    assert out.keypoints.dtype == np.float32
    assert dataclasses.replace(out, keypoints=given.keypoints) == given


def test_filters_of_old_ids_are_dropped() -> None:
    smooth = Smooth()
    box = Harness(smooth)
    for seq in range(1000):
        box.push(poses_at(seq, np.zeros((1, 17, 2)), ids=(seq,)))
    # Half a second of ids at 30 frames a second, and the one just seen.
    assert len(smooth._filters["hall"]) <= 16


def test_a_cut_off_of_zero_raises_with_the_remedy() -> None:
    with pytest.raises(PropertyError) as caught:
        make("smooth", min_cutoff=0)
    assert (
        str(caught.value)
        == "smooth: min_cutoff=0 is not valid: it must be a number greater than 0; see 'posestream inspect smooth'"
    )
