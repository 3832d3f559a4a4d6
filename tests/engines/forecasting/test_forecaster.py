"""Forecasts of joints: exact numbers for simple motions, and the bounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.forecasting.forecaster import GAINS, MAX_SPEED, SPREAD_OF_ERROR, Forecaster, median
from engines.forecasting.limbs import SLACK, Limbs

Floats = NDArray[np.float64]
FPS = 32.0
H = 0.0625
"""Two frames, exactly representable as FPS and the points are."""
POSE = np.array([[100.0, 50], [120, 90], [80, 90], [130, 130], [70, 130]])


def run(
    tracks: Floats, *, scores: Floats | float = 0.8, forecaster: Forecaster | None = None, horizon_s: float = H
) -> NDArray[np.float32]:
    """Forecasts (T, N, K, 5) of ``tracks`` (T, N, K, 2), people of 100 px with ids from 1."""
    made = forecaster or Forecaster()
    count = tracks.shape[1]
    given = np.concatenate([tracks, np.broadcast_to(scores, tracks.shape[:3])[..., None]], -1)
    ids, sizes = np.arange(1, count + 1), np.full(count, 100.0)
    return np.stack([made.step(ids, frame, sizes, seq / FPS, horizon_s) for seq, frame in enumerate(given)])


def walk(frames: int, speed: tuple[float, float] = (64.0, 0.0)) -> Floats:
    """One person who keeps its pose, (T, 1, K, 2)."""
    return POSE + np.arange(frames)[:, None, None, None] / FPS * np.array(speed)


def test_the_first_frame_is_held() -> None:
    found = run(walk(1))[0, 0]
    np.testing.assert_array_equal(found[:, :4], np.concatenate([POSE, np.zeros((5, 2))], -1))
    assert (found[:, 4] > 0).all()


def test_a_second_frame_gives_the_speed_times_the_prior_gain() -> None:
    found = run(walk(2))[1, 0]
    speed = GAINS[0] * 64
    np.testing.assert_allclose(found[:, :2], walk(2)[1, 0] + [H * speed, 0], rtol=1e-6)
    np.testing.assert_allclose(found[:, 2:4], [[speed, 0]] * 5, rtol=1e-6, atol=1e-5)


def test_the_gains_of_one_who_walks_evenly_become_one() -> None:
    track = walk(80)
    found = run(track)[60, 0]
    np.testing.assert_allclose(found[:, :2], track[62, 0], atol=0.1)  # of 4 px
    np.testing.assert_allclose(found[:, 2], 64, rtol=0.02)


def test_one_who_bobs_is_forecast_across_as_if_not() -> None:
    bob = 4 * np.sin(2 * np.pi * 1.5 * np.arange(162) / FPS)
    track = walk(162) + np.stack([0 * bob, bob], -1)[:, None, None]
    found, then, now = run(track)[80:160, 0, :, :2], track[82:, 0], track[80:160, 0]
    off, held = (np.abs(points - then).mean((0, 1)) for points in (found, now))
    assert off[0] < 0.01 * held[0]
    assert off[1] < 0.4 * held[1]


def test_noise_around_a_fixed_point_is_held() -> None:
    track = POSE + np.random.default_rng(0).normal(0, 1, (200, 1, 5, 2))
    found = run(track)[40:, 0]
    off, held = (np.linalg.norm(points - POSE, axis=-1).mean() for points in (found[..., :2], track[40:, 0]))
    assert off < 1.01 * held


def test_a_swinging_arm_is_forecast_better_than_by_the_body_alone() -> None:
    times = np.arange(160) / FPS
    track = np.repeat(POSE[None, None], 160, 0)
    track[:, 0, 3, 0] += 20 * np.sin(2 * np.pi * 0.5 * times)
    found = run(track)[60:158, 0, 3, 0]
    off, held = (np.abs(points - track[62:, 0, 3, 0]).mean() for points in (found, track[60:158, 0, 3, 0]))
    assert off < 0.5 * held


def test_a_joint_that_turns_round_moves_with_the_body_only() -> None:
    track = walk(8)
    track[:, 0, 3, 1] += [0, 2, 4, 6, 8, 10, 12, 11]
    found = run(track)[-1, 0]
    np.testing.assert_allclose(found[3, 2:4], found[0, 2:4], rtol=1e-5)


def test_a_joint_that_is_not_seen_moves_with_the_body() -> None:
    track, scores = walk(8), np.full((8, 1, 5), 0.8)
    scores[:, 0, 4] = 0.1
    track[:, 0, 4] += np.random.default_rng(0).normal(0, 30, (8, 2))
    found = run(track, scores=scores)[-1, 0]
    np.testing.assert_allclose(found[4, :2] - track[-1, 0, 4], found[0, :2] - track[-1, 0, 0], atol=1e-4)


def test_a_jump_does_not_make_a_person_fly_off() -> None:
    track = walk(12)
    track[-1] += 900
    moved = np.linalg.norm(run(track)[-1, 0, :, :2] - track[-1, 0], axis=-1)
    assert (moved <= MAX_SPEED * 100 * H * 1.0001).all()


def test_people_are_distinguished_by_their_ids() -> None:
    """Two people who swap rows, and one who comes and goes: all as if they were alone."""
    right, down = walk(6)[:, 0], walk(6, (0.0, 32.0))[:, 0] + 300
    alone = [run(track[:, None])[:, 0] for track in (right, down)]
    made = Forecaster()
    for seq in range(6):
        order = [0, 1] if seq % 2 else [1, 0]
        both = np.stack([right[seq], down[seq]])[order]
        given = np.concatenate([both, np.full((2, 5, 1), 0.8)], -1)
        found = made.step(np.array([7, 3])[order], given, np.full(2, 100.0), seq / FPS, H)
        np.testing.assert_allclose(found, np.stack([alone[0][seq], alone[1][seq]])[order], rtol=1e-5)


def test_a_short_absence_keeps_the_gains_and_a_long_one_forgets() -> None:
    """After either, the first frame is held, and the second shows the gains."""
    for missing, gain in ((3, pytest.approx(1.0, abs=0.03)), (20, pytest.approx(GAINS[0], abs=1e-6))):
        made, track = Forecaster(), walk(80)
        given = np.concatenate([track, np.full((80, 1, 5, 1), 0.8)], -1)
        run(track[:40], forecaster=made)
        for seq in range(40, 40 + missing):
            empty = made.step(np.zeros(0, np.int64), np.zeros((0, 5, 3)), np.zeros(0), seq / FPS, H)
            assert empty.shape == (0, 5, 5)
        first, second = (
            made.step(np.array([1]), given[seq], np.full(1, 100.0), seq / FPS, H)[0]
            for seq in (40 + missing, 41 + missing)
        )
        assert not first[:, 2:4].any()
        assert second[0, 2] / 64 == gain


def test_another_skeleton_begins_anew() -> None:
    made = Forecaster()
    run(walk(5), forecaster=made)
    found = made.step(np.array([1]), np.full((1, 3, 3), 0.5), np.full(1, 100.0), 1.0, H)
    np.testing.assert_array_equal(found[0, :, :4], [[0.5, 0.5, 0, 0]] * 3)


def test_the_spread_holds_two_of_three_of_what_is_seen_next() -> None:
    rng = np.random.default_rng(1)
    track = np.tile(POSE, (4, 3, 1))[None, :, :, :] * 1.0 + rng.normal(0, 2, (300, 4, 15, 2))
    found = run(track)[60:-2]
    off = np.linalg.norm(found[..., :2] - track[62:], axis=-1)
    assert (off <= found[..., 4]).mean() == pytest.approx(2 / 3, abs=0.12)
    assert SPREAD_OF_ERROR > 1


def test_limbs_keep_their_length() -> None:
    limbs = Limbs([(0, 1)])
    seen, points = np.ones((1, 3)), np.array([[[0.0, 20, 5]], [[0, 0, 5]]])
    length = np.array([[10.0]])
    kept = limbs.keep(points, length, length, seen)
    half = 10 * (1 + SLACK) / 2
    expected = np.array([[[10 - half, 10 + half, 5]], [[0, 0, 5]]])
    np.testing.assert_allclose(kept, expected)
    np.testing.assert_array_equal(limbs.keep(points, length * 2, length * 2, seen), points)
    np.testing.assert_array_equal(limbs.keep(points, length, length, np.array([[1.0, 0, 1]])), points)
    assert limbs.measure(points).tolist() == [[20.0]]


def test_without_limbs_nothing_is_bounded() -> None:
    points = np.ones((2, 2, 3))
    assert Limbs(()).keep(points, np.zeros((2, 0)), np.zeros((2, 0)), np.ones((2, 3))) is points


def test_the_median_leaves_unseen_joints_out() -> None:
    values = np.array([[[1.0, 5, 2, 99], [1, 3, 9, 9]], [[-1, -5, -2, -99], [1, 3, 9, 9]]])
    seen = np.array([[1.0, 1, 1, 0], [1, 1, 0, 0]])
    np.testing.assert_array_equal(median(values, seen), [[2, 2], [-2, 2]])
    np.testing.assert_array_equal(median(values, 0 * seen), [[0, 0], [0, 0]])
