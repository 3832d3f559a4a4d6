"""Other ways to forecast joints, beside which ours is measured: each takes frame after frame of a clip's people.

Arrays have a row for every person of the clip; joints that are not there are NaN.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MIN_SCORE = 0.3


class Hold:
    """The joints stay; the base of the others, which remember a few frames."""

    frames: ClassVar[int] = 4

    def __init__(self) -> None:
        self.past: deque[tuple[float, Floats]] = deque(maxlen=self.frames)

    def step(self, keypoints: Floats, sizes: Floats, time_s: float, horizon_s: float) -> Floats:
        """Forecast ``keypoints`` (P, K, 3) of people of ``sizes`` (P,) px at ``time_s + horizon_s``: (P, K, 2) px."""
        self.past.append((time_s, keypoints))
        return self.forecast(keypoints, sizes, horizon_s)

    def forecast(self, keypoints: Floats, sizes: Floats, horizon_s: float) -> Floats:  # noqa: ARG002
        """The forecast, after the frame was remembered."""
        return keypoints[..., :2]

    def last_speeds(self) -> Floats:
        """Between the last two frames, px/s."""
        if len(self.past) < 2:
            return np.zeros_like(self.past[-1][1][..., :2])
        (before_s, before), (now_s, now) = list(self.past)[-2:]
        return np.nan_to_num((now[..., :2] - before[..., :2]) / (now_s - before_s))

    def fit(self) -> tuple[Floats, Floats]:
        """Position now, px, and speed, px/s, of least squares through the frames that are remembered."""
        times = np.array([time_s for time_s, _ in self.past])
        times = (times - times[-1])[:, None, None, None]
        points = np.array([keypoints[..., :2] for _, keypoints in self.past])
        weights = np.isfinite(points).astype(float)
        points = np.nan_to_num(points)
        count, total = weights.sum(0), (weights * times).sum(0)
        determinant = count * (weights * times**2).sum(0) - total**2
        is_known = determinant > 1e-12
        slope = count * (times * points).sum(0) - total * points.sum(0)
        speeds = np.where(is_known, slope / np.where(is_known, determinant, 1), 0)
        at = (points.sum(0) - speeds * total) / np.maximum(count, 1)
        return np.where(is_known, at, self.past[-1][1][..., :2]), speeds


class LastTwo(Hold):
    """Constant speed, that between the last two frames."""

    def forecast(self, keypoints: Floats, sizes: Floats, horizon_s: float) -> Floats:  # noqa: ARG002
        return keypoints[..., :2] + horizon_s * self.last_speeds()


class FitOfFour(Hold):
    """A line through the last four frames."""

    def forecast(self, keypoints: Floats, sizes: Floats, horizon_s: float) -> Floats:  # noqa: ARG002
        at, speeds = self.fit()
        return np.asarray(np.where(np.isfinite(keypoints[..., :2]), at + horizon_s * speeds, np.nan))


class BodyAndHalf(Hold):
    """The body's speed (median over joints, last two frames) and half of each joint's own (line through four)."""

    def forecast(self, keypoints: Floats, sizes: Floats, horizon_s: float) -> Floats:  # noqa: ARG002
        own = self.fit()[1]
        body = median_of_joints(self.last_speeds(), keypoints)
        return keypoints[..., :2] + horizon_s * (body + 0.5 * (own - median_of_joints(own, keypoints)))


class Mixed(Hold):
    """The mean of holding, the last two and :class:`BodyAndHalf`, weighted by how well each did lately."""

    def __init__(self) -> None:
        super().__init__()
        self._models = [Hold(), LastTwo(), BodyAndHalf()]
        self._due: deque[tuple[float, Floats]] = deque(maxlen=16)
        self._errors: Floats = np.zeros(0)

    def step(self, keypoints: Floats, sizes: Floats, time_s: float, horizon_s: float) -> Floats:
        made = np.array([model.step(keypoints, sizes, time_s, horizon_s) for model in self._models])
        if not self._errors.size:
            self._errors = np.full(made.shape[:2], 1e-4)
        due = next((one for at_s, one in reversed(self._due) if at_s + horizon_s <= time_s + 1e-3), None)
        if due is not None:
            off = np.linalg.norm(due - keypoints[..., :2], axis=-1) / sizes[:, None]
            fresh = np.nan_to_num(np.nanmedian(off, -1), nan=1e-2) ** 2
            self._errors = 0.9 * self._errors + 0.1 * fresh
        self._due.append((time_s, made))
        weights = 1 / np.maximum(self._errors, 1e-8) ** 2
        weights /= weights.sum(0)
        return np.asarray((weights[..., None, None] * made).sum(0))


class Kalman(Hold):
    """Constant velocity for each joint; the noise of a measurement falls with its score."""

    acceleration, noise, speed = 8.0, 0.004, 1.0

    def __init__(self) -> None:
        super().__init__()
        self._time_s = 0.0
        self._state: tuple[Floats, Floats, Floats] | None = None

    def step(self, keypoints: Floats, sizes: Floats, time_s: float, horizon_s: float) -> Floats:
        points = np.nan_to_num(keypoints[..., :2])
        size = np.nan_to_num(sizes, nan=1.0)[:, None]
        noise = (self.noise * size / np.clip(np.nan_to_num(keypoints[..., 2]), 0.1, 1)) ** 2
        first = np.stack([noise, 0 * noise, 0 * noise + (self.speed * size) ** 2])
        missing = ~np.isfinite(keypoints[..., 0])
        if self._state is None:
            self._state = points, np.zeros_like(points), first
        step_s, self._time_s = time_s - self._time_s, time_s
        at, speed, (p, q, r) = self._state
        at = at + step_s * speed
        force = (self.acceleration * size) ** 2
        p = p + 2 * step_s * q + step_s**2 * r + force * step_s**4 / 4
        q, r = q + step_s * r + force * step_s**3 / 2, r + force * step_s**2
        gain, speed_gain = p / (p + noise), q / (p + noise)
        surprise = points - at
        is_new = (np.linalg.norm(speed, axis=-1) == 0) & (np.linalg.norm(at, axis=-1) == 0)
        at = np.where(is_new[..., None], points, at + gain[..., None] * surprise)
        speed = np.where(is_new[..., None], 0, speed + speed_gain[..., None] * surprise)
        spread = np.where(is_new, first, np.stack([(1 - gain) * p, (1 - gain) * q, r - speed_gain * q]))
        self._state = (
            np.where(missing[..., None], 0, at),
            np.where(missing[..., None], 0, speed),
            np.where(missing, first, spread),
        )
        return np.asarray(np.where(missing[..., None], np.nan, at + horizon_s * speed))


def median_of_joints(speeds: Floats, keypoints: Floats) -> Floats:
    """(P, 1, 2): the median over the joints that are seen."""
    seen = np.where(np.nan_to_num(keypoints[..., 2:]) > MIN_SCORE, 1.0, np.nan)
    return np.nan_to_num(np.nanmedian(speeds * seen, axis=-2, keepdims=True))


RIVALS: dict[str, type[Hold]] = {
    "hold": Hold,
    "last two": LastTwo,
    "fit of four": FitOfFour,
    "body + half": BodyAndHalf,
    "mixed": Mixed,
    "Kalman": Kalman,
}
