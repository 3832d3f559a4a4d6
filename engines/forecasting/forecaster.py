"""Forecasts of joints by regression on their recent motion, whose coefficients each person's own past corrects.

A joint moves with its body and on its own. The body's motion is the median over joints and so hardly noisy; that of a
single joint is noisy and has to be damped; and how much of either lasts depends on the person, the network and the
frame rate. Its displacement over a horizon is therefore modelled as the horizon times a sum of three motions,

    the body's speed, its change between the last two frames, and the joint's own speed (relative to the body)

with one gain each along x and along y, since who walks goes evenly across and bobs. The gains are those of a
least-squares fit to what this person's joints did over the same horizon during the last seconds: of both axes first,
with a prior that was fitted on other clips (``benchmarks/forecasting.py``), and then of each axis, with the result as
the prior. Where keypoints are noise around a fixed point, speeds do not tell displacements, the gains go to zero and
the forecast is to hold.

Inside, x and y are planes, (2, M, K) for M people of K joints, since NumPy loops over the last axes fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.forecasting.limbs import Limbs, measure_lengths

Floats = NDArray[np.float64]

MIN_SCORE = 0.3
"""Joints with lower scores count as not seen: they move with the body."""

MAX_GAP_S = 0.5
"""Absence after which a person is forgotten."""

FIT_FRAMES, FIT_S = 4, 0.15
"""Speeds are fitted to at most so many frames, of at most so long a time, and to two at least."""

MEMORY_S = 1.5
"""Time constant with which past displacements are forgotten."""

GAINS = np.array([0.9, 0.1, 0.27])
"""The prior: of the body's speed, of its change, and of the joint's own speed."""

MIN_GAINS, MAX_GAINS = np.array([0.0, -0.3, 0.0]), np.array([1.2, 1.2, 1.0])

PRIOR = 20.0 * 0.3**2
"""Weight of the prior: 20 joints that move at 0.3 sizes per second."""

OUTLIER = 2.0
"""Residuals of more than so many medians weigh less, as in Huber's estimator."""

MAX_SPEED = 3.0
"""Of a forecast, in sizes of the person per second: a hand that strikes out reaches it."""

SPREAD_OF_ERROR, FIRST_ERROR = 1.15, 0.02
"""The radius that holds two of three errors, relative to the mean error; and the error, in sizes of the person, that is
assumed before any was measured."""

_ERROR_WEIGHT = 4.0
"""How many errors of a joint of its own weigh as much as the mean of its person."""

_NOISE_S = 0.03
"""Errors at horizons h and l are taken to relate as h + this and l + this: keypoints have noise at once."""

LENGTHS_KEPT = 0.9
"""How much of the distance between a limb's length and the shortest and longest ones lately is left after a frame."""

_HISTORY = 16
_TINY, _LAST = 1e-9, 1e300


@dataclass
class _Frame:
    """One frame of the past: ``joints`` (3, M, K), x px, y px and 1, or zeros for those not seen; the three motions,
    px/s, ``body`` (2, 2, M): its speed and the change of that, and each joint's ``own`` (2, M, K); the ``shortest`` and
    ``longest`` lengths of limbs lately, px, (M, L)."""

    time_s: float
    joints: Floats
    shortest: Floats
    longest: Floats
    body: Floats = field(default_factory=lambda: np.zeros(0))
    own: Floats = field(default_factory=lambda: np.zeros(0))

    def select(self, rows: NDArray[np.intp], is_known: NDArray[np.bool_]) -> None:
        """Reorder the people; those not known have not been seen."""
        self.joints = self.joints[:, rows] * is_known[:, None]
        self.own, self.body = self.own[:, rows], self.body[..., rows]
        self.shortest = np.where(is_known[:, None], self.shortest[rows], np.inf)
        self.longest = np.where(is_known[:, None], self.longest[rows], 0.0)

    @property
    def points(self) -> Floats:
        """(2, M, K) px."""
        return self.joints[:2]

    @property
    def seen(self) -> Floats:
        """(M, K), 0 or 1."""
        seen: Floats = self.joints[2]
        return seen

    def combine(self, gains: Floats) -> Floats:
        """The sum of the three motions with ``gains`` (3, 2, M), px/s, (2, M, K)."""
        speeds: Floats = self.own * gains[2][..., None]
        speeds += (self.body[0] * gains[0] + self.body[1] * gains[1])[:, :, None]
        return speeds

    def list_motions(self) -> Floats:
        """The three motions of each person's joints, (M, 2, 3, K)."""
        motions = np.empty((len(self.seen), 2, 3, self.seen.shape[1]))
        motions[:, :, :2], motions[:, :, 2] = self.body.transpose(2, 1, 0)[..., None], self.own.transpose(1, 0, 2)
        return motions


class Forecaster:
    """The forecasts of one camera's people; ``limbs`` are pairs of joints whose distance is kept."""

    def __init__(self, limbs: Sequence[tuple[int, int]] = ()) -> None:
        self._limbs = Limbs(limbs)
        self._reset(0)

    def _reset(self, joints: int) -> None:
        """Forget everybody; people have so many joints from now on."""
        self._joints = joints
        self._due: tuple[float, ...] = (0.0, 0.0, 0.0)
        self._frames: list[_Frame] = []
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._last_s: Floats = np.zeros(0)
        self._equations: Floats = np.zeros((0, 2, 3, 4))
        self._errors: Floats = np.zeros((0, 2, joints))
        self._gains: Floats = np.zeros((3, 2, 0))
        self._given: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: NDArray[np.intp] | slice = slice(None)

    def step(
        self, ids: NDArray[np.int64], keypoints: NDArray[np.floating], sizes: Floats, time_s: float, horizon_s: float
    ) -> NDArray[np.float32]:
        """Take the people of a frame and forecast them.

        ``ids`` (N,) are different; ``keypoints`` (N, K, 3): x px, y px, score; ``sizes`` (N,) px: the longer side of
        the box; ``time_s`` of the frame, later than the last one's. Returns (N, K, 5) float32: x px, y px at
        ``time_s + horizon_s``, the speed along x and y, px/s, and the spread, px: the radius that holds what will be
        seen of a joint in two of three cases.
        """
        if keypoints.shape[1] != self._joints:
            self._reset(keypoints.shape[1])
        rows = self._align(ids, time_s)
        if not len(self._ids):
            return np.zeros((0, self._joints, 5), np.float32)
        given, scale = np.zeros((3, len(self._ids), self._joints)), np.ones(len(self._ids))
        given[:, rows], scale[rows] = keypoints.transpose(2, 0, 1), np.maximum(sizes, 1.0)
        points, seen = given[:2], given[2] >= MIN_SCORE
        joints = given * seen
        joints[2] = seen
        frame = _Frame(time_s, joints, *self._measure_limbs(points))
        self._frames = [*self._frames[1 - _HISTORY :], frame]
        frame.body, frame.own = self._motions(frame)
        self._learn(frame, scale, horizon_s)
        found = self._forecast(frame, points, scale, horizon_s)[:, rows]
        return np.ascontiguousarray(found.transpose(1, 2, 0), np.float32)

    @property
    def error_px(self) -> float:
        """The mean error of the forecasts that were due lately, against what was seen then, px."""
        return self._due[0] / max(self._due[2], 1.0)

    @property
    def motion_px(self) -> float:
        """The mean error of holding instead, px."""
        return self._due[1] / max(self._due[2], 1.0)

    def _measure_limbs(self, points: Floats) -> tuple[Floats, Floats]:
        """The shortest and longest lengths lately of each limb."""
        length = self._limbs.measure(points)
        if not self._frames:
            return length, length
        last = self._frames[-1]
        shortest = np.minimum(length, length + LENGTHS_KEPT * (last.shortest - length))
        return shortest, np.maximum(length, length + LENGTHS_KEPT * (last.longest - length))

    # -- people --------------------------------------------------------------------------------------------------------

    def _align(self, ids: NDArray[np.int64], time_s: float) -> NDArray[np.intp] | slice:
        """Give every person a row, forget those who were absent for long, and return the rows of ``ids``."""
        if len(ids) != len(self._given) or (ids != self._given).any() or len(self._ids) != len(ids):
            kept = self._ids[time_s - self._last_s <= MAX_GAP_S]
            self._select(np.union1d(kept, ids))
            self._given, self._rows = ids, np.searchsorted(self._ids, ids)
            if np.array_equal(ids, self._ids):
                self._rows = slice(None)
        self._last_s[self._rows] = time_s
        return self._rows

    def _select(self, ids: NDArray[np.int64]) -> None:
        """Reorder all memory for ``ids``, sorted; new people begin without any."""
        is_known = np.isin(ids, self._ids)
        rows = np.searchsorted(self._ids, ids[is_known])
        source = np.zeros(len(ids), np.intp)
        source[is_known] = rows
        if not is_known.any():
            self._frames = []
        for frame in self._frames:
            frame.select(source, is_known)
        self._ids = ids
        self._last_s = _gather(self._last_s, rows, is_known)
        self._equations = _gather(self._equations, rows, is_known)
        self._errors = _gather(self._errors, rows, is_known)
        self._solve()

    # -- motion --------------------------------------------------------------------------------------------------------

    def _motions(self, frame: _Frame) -> tuple[Floats, Floats]:
        """The motions ``body`` and ``own`` of a frame."""
        speeds = np.empty((4, *frame.seen.shape))
        np.multiply(self._fitted_speeds(frame), frame.seen, out=speeds[:2])
        speeds[2:] = self._last_speeds(frame)
        body = median(speeds, frame.seen)
        speeds -= body[:, :, None]
        own, now = speeds[:2], speeds[2:]
        ahead = own[0] * now[0] + own[1] * now[1]
        body[2:] -= body[:2]
        # A joint that turns round has no speed of its own.
        return body.reshape(2, 2, -1), own * ((ahead > 0) * frame.seen)

    def _fitted_speeds(self, frame: _Frame) -> Floats:
        """Slopes of least squares through the last frames in which a joint was seen, px/s, (2, M, K)."""
        frames = [one for one in self._frames[-FIT_FRAMES:] if frame.time_s - one.time_s <= FIT_S]
        frames = frames if len(frames) > 1 else self._frames[-2:]
        times = [one.time_s - frame.time_s for one in frames]
        powers = np.array([[1.0] * len(times), times, [time * time for time in times]])
        joints = np.concatenate([one.joints for one in frames]).reshape(len(frames), -1)
        sums, timed, timed_twice = (powers @ joints).reshape(3, *frame.joints.shape)
        count, total, squares = sums[2], timed[2], timed_twice[2]
        found: Floats = (count * timed[:2] - total * sums[:2]) / np.maximum(count * squares - total * total, _TINY)
        return found

    def _last_speeds(self, frame: _Frame) -> Floats:
        """Speeds between the last two frames, px/s, (2, M, K); zero for joints not seen in both."""
        if len(self._frames) < 2:
            return np.zeros_like(frame.points)
        last = self._frames[-2]
        return (frame.points - last.points) * (last.seen * frame.seen / (frame.time_s - last.time_s))

    # -- gains ---------------------------------------------------------------------------------------------------------

    def _learn(self, frame: _Frame, scale: Floats, horizon_s: float) -> None:
        """Compare what the joints did since about ``horizon_s`` ago with the motions that they had then."""
        if len(self._frames) < 2:
            return
        step_s = frame.time_s - self._frames[-2].time_s
        past = _find(self._frames[:-1], frame.time_s - max(horizon_s, step_s) + step_s / 2)
        lag_s = frame.time_s - past.time_s
        speeds = (frame.points - past.points) / lag_s
        is_both = frame.seen * past.seen
        residuals = measure_lengths(speeds - past.combine(self._gains))
        off = residuals * is_both
        count = is_both.sum(1)
        total = off.sum(1)
        weights = is_both * np.minimum(
            1.0, (OUTLIER * total / np.maximum(count, 1))[:, None] / np.maximum(residuals, _TINY)
        )
        kept = math.exp(-step_s / MEMORY_S)
        self._errors *= kept
        self._errors[:, 0] += off * (lag_s / (lag_s + _NOISE_S))
        self._errors[:, 1] += is_both
        due = lag_s * total.sum(), lag_s * np.vdot(measure_lengths(speeds), is_both), count.sum()
        self._due = tuple(kept * before + float(now) for before, now in zip(self._due, due, strict=True))
        weights /= (scale * scale)[:, None]  # equations are in sizes of the person
        self._equations *= kept
        self._equations += _make_equations(past.list_motions(), speeds, weights)
        self._solve()

    def _solve(self) -> None:
        """Solve for the gains of each person, (3, 2, M)."""
        of_both = _solve(self._equations.sum(1), GAINS)
        of_each = _solve(self._equations, of_both[:, None])
        self._gains = np.ascontiguousarray(np.minimum(np.maximum(of_each, MIN_GAINS), MAX_GAINS).transpose(2, 1, 0))

    # -- forecasts -----------------------------------------------------------------------------------------------------

    def _forecast(self, frame: _Frame, points: Floats, scale: Floats, horizon_s: float) -> Floats:
        """x px, y px, their speeds, px/s, and the spread, px, (5, M, K)."""
        speeds = frame.combine(self._gains)
        speeds *= np.minimum(1.0, (MAX_SPEED * scale)[:, None] / np.maximum(measure_lengths(speeds), _TINY))
        found = np.empty((5, *frame.seen.shape))
        found[:2] = self._limbs.keep(points + horizon_s * speeds, frame.shortest, frame.longest, frame.seen)
        np.divide(found[:2] - points, horizon_s, out=found[2:4])
        np.multiply(SPREAD_OF_ERROR * (horizon_s + _NOISE_S), self._error_rates(scale), out=found[4])
        return found

    def _error_rates(self, scale: Floats) -> Floats:
        """The mean error of each joint, px for each second of horizon, drawn to that of the person, (M, K)."""
        total, count = self._errors.sum(2).T
        first = FIRST_ERROR * scale / (2 * _NOISE_S)
        mean = ((total + _ERROR_WEIGHT * first) / (count + _ERROR_WEIGHT))[:, None]
        rates: Floats = (self._errors[:, 0] + _ERROR_WEIGHT * mean) / (self._errors[:, 1] + _ERROR_WEIGHT)
        return rates


def median(values: Floats, seen: Floats) -> Floats:
    """The median over joints of ``values`` (C, M, K) where ``seen`` (M, K) is 1, not 0, (C, M); 0 without any.

    >>> median(np.array([[[1.0, 5.0, 2.0, 9.0]]]), np.array([[1.0, 1.0, 1.0, 0.0]]))
    array([[2.]])
    """
    people, joints = seen.shape
    ordered = values + (seen == 0) * _LAST
    ordered.sort()
    ordered = ordered.reshape(len(values), -1)
    count, first = seen.sum(1).astype(np.intp), np.arange(0, people * joints, joints)
    lower = ordered.take(first + np.maximum(count - 1, 0) // 2, axis=1)
    middle: Floats = 0.5 * (lower + ordered.take(first + count // 2, axis=1)) * (count > 0)
    return middle


def _find(frames: Sequence[_Frame], time_s: float) -> _Frame:
    """The newest frame not after ``time_s``; the oldest if there is none."""
    return next((frame for frame in reversed(frames) if frame.time_s <= time_s), frames[0])


def _gather(values: Floats, rows: NDArray[np.intp], is_known: NDArray[np.bool_]) -> Floats:
    found = np.zeros((len(is_known), *values.shape[1:]))
    found[is_known] = values[rows]
    return found


def _solve(equations: Floats, prior: Floats) -> Floats:
    """The gains (..., 3) of normal equations (..., 3, 4), drawn to those of the ``prior``."""
    gains = np.linalg.solve(equations[..., :3] + PRIOR * np.eye(3), equations[..., 3:] + PRIOR * prior[..., None])
    return np.asarray(gains[..., 0], np.float64)


def _make_equations(motions: Floats, speeds: Floats, weights: Floats) -> Floats:
    """The normal equations (M, 2, 3, 4) of gains with which ``motions`` (M, 2, 3, K) add up to ``speeds`` (2, M, K)."""
    terms = np.concatenate([motions, speeds.transpose(1, 0, 2)[:, :, None]], axis=2)
    equations: Floats = (motions * weights[:, None, None]) @ terms.swapaxes(2, 3)
    return equations
