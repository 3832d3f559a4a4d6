"""Forecasts of joints by regression on their recent motion, whose coefficients each person's own past corrects.

A joint moves with its body and on its own. The body's motion is the median over joints and so hardly noisy; that of a
single joint is noisy and has to be damped; and how much of either lasts depends on the person, the network and the
frame rate. Its displacement over a horizon is therefore modelled as the horizon times a sum of three motions,

    the body's speed, its change between the last two frames, and the joint's own speed (relative to the body)

with one gain each. The gains are those of a least-squares fit to what this person's joints did over the same horizon
during the last seconds, with a prior that was fitted on other clips (``benchmarks/forecasting.py``). Where keypoints
are noise around a fixed point, speeds do not tell displacements, the gains go to zero and the forecast is to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.forecasting.limbs import Limbs

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

MIN_GAINS, MAX_GAINS = np.array([[0.0], [-0.3], [0.0]]), np.array([[1.2], [1.2], [1.0]])

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
_NO_MOTION = np.zeros((0, 0, 2, 3))
_PRIOR_GRAM, _PRIOR_MOMENT = PRIOR * np.eye(3), PRIOR * GAINS
_TINY = 1e-9


@dataclass
class _Frame:
    """One frame of the past; rows are people: ``points`` (M, K, 2) px, ``seen`` (M, K), ``motions`` (M, K, 2, 3), and
    the ``shortest`` and ``longest`` lengths of limbs lately, px, (M, L)."""

    time_s: float
    points: Floats
    seen: Floats
    motions: Floats
    shortest: Floats
    longest: Floats

    def select(self, rows: NDArray[np.intp], is_known: NDArray[np.bool_]) -> None:
        """Reorder the people; those not known have not been seen."""
        self.points, self.motions = self.points[rows], self.motions[rows]
        self.shortest = np.where(is_known[:, None], self.shortest[rows], np.inf)
        self.longest = np.where(is_known[:, None], self.longest[rows], 0.0)
        self.seen = self.seen[rows] * is_known[:, None]


class Forecaster:
    """The forecasts of one camera's people; ``limbs`` are pairs of joints whose distance is kept."""

    def __init__(self, limbs: Sequence[tuple[int, int]] = ()) -> None:
        self._limbs = Limbs(limbs)
        self._reset(0)

    def _reset(self, joints: int) -> None:
        """Forget everybody; people have so many joints from now on."""
        self._joints = joints
        self._due: Floats = np.zeros(3)
        self._frames: list[_Frame] = []
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._last_s: Floats = np.zeros(0)
        self._gram: Floats = np.zeros((0, 3, 3))
        self._moment: Floats = np.zeros((0, 3))
        self._errors: Floats = np.zeros((0, joints, 2))
        self._gains: Floats = np.zeros((0, 1, 3, 1))
        self._given: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)

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
        points, scale = np.zeros((len(self._ids), self._joints, 2)), np.ones(len(self._ids))
        seen = np.zeros(points.shape[:2])
        points[rows], scale[rows] = keypoints[..., :2], np.maximum(sizes, 1.0)
        seen[rows] = keypoints[..., 2] >= MIN_SCORE
        frame = _Frame(time_s, points, seen, _NO_MOTION, *self._measure_limbs(points))
        self._frames = [*self._frames[1 - _HISTORY :], frame]
        frame.motions = self._motions(frame)
        self._learn(frame, scale, horizon_s)
        return self._forecast(frame, scale, horizon_s)[rows]

    @property
    def error_px(self) -> float:
        """The mean error of the forecasts that were due lately, against what was seen then, px."""
        return float(self._due[0] / max(self._due[2], 1.0))

    @property
    def motion_px(self) -> float:
        """The mean error of holding instead, px."""
        return float(self._due[1] / max(self._due[2], 1.0))

    def _measure_limbs(self, points: Floats) -> tuple[Floats, Floats]:
        """The shortest and longest lengths lately of each limb."""
        length = self._limbs.measure(points)
        if not self._frames:
            return length, length
        last = self._frames[-1]
        shortest = np.minimum(length, length + LENGTHS_KEPT * (last.shortest - length))
        return shortest, np.maximum(length, length + LENGTHS_KEPT * (last.longest - length))

    # -- people --------------------------------------------------------------------------------------------------------

    def _align(self, ids: NDArray[np.int64], time_s: float) -> NDArray[np.intp]:
        """Give every person a row, forget those who were absent for long, and return the rows of ``ids``."""
        if len(ids) != len(self._given) or (ids != self._given).any() or len(self._ids) != len(ids):
            kept = self._ids[time_s - self._last_s <= MAX_GAP_S]
            self._select(np.union1d(kept, ids))
            self._given, self._rows = ids, np.searchsorted(self._ids, ids)
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
        self._gram, self._moment = _gather(self._gram, rows, is_known), _gather(self._moment, rows, is_known)
        self._errors = _gather(self._errors, rows, is_known)
        self._solve()

    # -- motion --------------------------------------------------------------------------------------------------------

    def _motions(self, frame: _Frame) -> Floats:
        """The three motions of each joint, px/s, (M, K, 2, 3)."""
        seen = frame.seen[..., None]
        fitted, last = self._fitted_speeds(frame) * seen, self._last_speeds(frame) * seen
        speeds = np.concatenate([fitted, last], -1)
        body = median(speeds, frame.seen)[:, None]
        speeds -= body
        own, now = speeds[..., :2], speeds[..., 2:]
        ahead = own[..., 0] * now[..., 0] + own[..., 1] * now[..., 1]
        own = own * ((ahead > 0) * frame.seen)[..., None]  # a joint that turns round has no speed of its own
        motions = np.empty((*frame.points.shape, 3))
        motions[..., 0], motions[..., 1], motions[..., 2] = body[..., :2], body[..., 2:] - body[..., :2], own
        return motions

    def _fitted_speeds(self, frame: _Frame) -> Floats:
        """Slopes of least squares through the last frames in which a joint was seen, px/s, (M, K, 2)."""
        frames = [one for one in self._frames[-FIT_FRAMES:] if frame.time_s - one.time_s <= FIT_S]
        frames = frames if len(frames) > 1 else self._frames[-2:]
        seen = np.array([one.seen for one in frames])
        times = np.array([one.time_s - frame.time_s for one in frames])[:, None, None]
        timed = seen * times
        count, total = seen.sum(0), timed.sum(0)
        determinant = count * (timed * times).sum(0) - total**2
        weights = (count * timed - total * seen) / np.maximum(determinant, _TINY)
        found: Floats = (weights[..., None] * np.array([one.points for one in frames])).sum(0)
        return found

    def _last_speeds(self, frame: _Frame) -> Floats:
        """Speeds between the last two frames, px/s; zero for joints not seen in both."""
        if len(self._frames) < 2:
            return np.zeros_like(frame.points)
        last = self._frames[-2]
        both = (last.seen * frame.seen / (frame.time_s - last.time_s))[..., None]
        return (frame.points - last.points) * both

    # -- gains ---------------------------------------------------------------------------------------------------------

    def _learn(self, frame: _Frame, scale: Floats, horizon_s: float) -> None:
        """Compare what the joints did since about ``horizon_s`` ago with the motions that they had then."""
        if len(self._frames) < 2:
            return
        step_s = frame.time_s - self._frames[-2].time_s
        past = _find(self._frames[:-1], frame.time_s - max(horizon_s, step_s) + step_s / 2)
        lag_s = frame.time_s - past.time_s
        moved = frame.points - past.points
        is_both = frame.seen * past.seen
        inverse = 1.0 / (lag_s * scale)[:, None, None]
        speeds, motions = moved * inverse, past.motions / scale[:, None, None, None]
        residuals = _length(speeds - (motions @ self._gains)[..., 0])
        typical = (residuals * is_both).sum(1) / np.maximum(is_both.sum(1), 1)
        weights = is_both * np.minimum(1.0, OUTLIER * typical[:, None] / np.maximum(residuals, _TINY))
        kept = math.exp(-step_s / MEMORY_S)
        self._errors *= kept
        self._errors[..., 0] += is_both * residuals * (scale * (lag_s / (lag_s + _NOISE_S)))[:, None]
        self._errors[..., 1] += is_both
        due = (residuals * (scale * lag_s)[:, None] * is_both).sum(), (_length(moved) * is_both).sum(), is_both.sum()
        self._due = kept * self._due + due
        rows = motions.reshape(len(scale), -1, 3)
        weighted = (motions * weights[..., None, None]).reshape(rows.shape).swapaxes(1, 2)
        self._gram = kept * self._gram + weighted @ rows
        self._moment = kept * self._moment + (weighted @ speeds.reshape(len(scale), -1, 1))[..., 0]
        self._solve()

    def _solve(self) -> None:
        """Solve for the gains of each person, (M, 1, 3, 1)."""
        solved = np.linalg.solve(self._gram + _PRIOR_GRAM, (self._moment + _PRIOR_MOMENT)[..., None])
        self._gains = np.minimum(np.maximum(solved, MIN_GAINS), MAX_GAINS)[:, None]

    # -- forecasts -----------------------------------------------------------------------------------------------------

    def _forecast(self, frame: _Frame, scale: Floats, horizon_s: float) -> NDArray[np.float32]:
        speeds = (frame.motions @ self._gains)[..., 0]
        limit = (MAX_SPEED * scale)[:, None]
        speeds *= np.minimum(1.0, limit / np.maximum(_length(speeds), _TINY))[..., None]
        found = np.empty((*frame.points.shape[:2], 5), np.float32)
        points = self._limbs.keep(frame.points + horizon_s * speeds, frame.shortest, frame.longest, frame.seen)
        found[..., :2] = points
        found[..., 2:4] = (points - frame.points) / horizon_s
        found[..., 4] = SPREAD_OF_ERROR * (horizon_s + _NOISE_S) * self._error_rates(scale)
        return found

    def _error_rates(self, scale: Floats) -> Floats:
        """The mean error of each joint, px for each second of horizon, drawn to that of the person, (M, K)."""
        total, count = self._errors.sum(1).T
        first = FIRST_ERROR * scale / (2 * _NOISE_S)
        mean = ((total + _ERROR_WEIGHT * first) / (count + _ERROR_WEIGHT))[:, None]
        rates: Floats = (self._errors[..., 0] + _ERROR_WEIGHT * mean) / (self._errors[..., 1] + _ERROR_WEIGHT)
        return rates


def median(values: Floats, weights: Floats) -> Floats:
    """The median over joints of ``values`` (M, K, C) where ``weights`` (M, K) are not zero, (M, C); 0 without any.

    >>> median(np.array([[[1.0], [5.0], [2.0], [9.0]]]), np.array([[1.0, 1.0, 1.0, 0.0]]))
    array([[2.]])
    """
    ordered = np.sort(np.where(weights[..., None] > 0, values, np.inf), 1)
    count, rows = np.count_nonzero(weights, 1), np.arange(len(values))
    middle = 0.5 * (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, count // 2])
    return np.where(count[:, None] > 0, middle, 0.0)


def _find(frames: Sequence[_Frame], time_s: float) -> _Frame:
    """The newest frame not after ``time_s``; the oldest if there is none."""
    return next((frame for frame in reversed(frames) if frame.time_s <= time_s), frames[0])


def _gather(values: Floats, rows: NDArray[np.intp], is_known: NDArray[np.bool_]) -> Floats:
    found = np.zeros((len(is_known), *values.shape[1:]))
    found[is_known] = values[rows]
    return found


def _length(vectors: Floats) -> Floats:
    squares = vectors * vectors
    return np.sqrt(squares[..., 0] + squares[..., 1])
