"""``predict``: forecasts where every joint will be when its keypoints are read (:mod:`engines.forecasting`)."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.forecasting.forecaster import Forecaster
from engines.metrics import VISIBLE, match_boxes
from engines.skeletons import SKELETONS
from stream.caps import Caps
from stream.element import Transform
from stream.messages import NO_ID, Forecast, Frame, Poses

AUTO = "auto"

MAX_HORIZON_MS = 250.0
"""Nothing is forecast beyond it, by the element or by a reader: people do not keep their motion for longer."""

EXTRAPOLATION_MS = 100.0
"""How far beyond the horizon a reader may extrapolate: over a dropped frame or two."""

MIN_HORIZON_MS = 1.0
"""A shorter horizon forecasts nothing that one could act on."""

_PERIODS = 15
_REMEMBERED = 16
_KEPT = 0.95
_SLOW = 1.2
_UNKNOWN_SPREAD = 0.03
"""Of people without an id, in sizes of the person."""


@dataclass
class Predict(Transform):
    """Forecasts x and y of every joint of every id, with its speed and spread, beside the keypoints that were seen.

    Keypoints are old when they arrive. A forecast says where they are then: ``person.predicted`` and ``message.at()``
    of a subscriber. What was seen is unchanged. People without an id are forecast to stay. Put it after ``track`` and
    ``pose``, and before ``smooth``, whose lag would be forecast too.

    With ``horizon=auto``, forecasts are for half a frame period after the moment they leave the element: the mean age
    at which a message is read that the next one replaces. The speed allows a reader to extrapolate from there, for
    100 ms; neither goes beyond 250 ms from the frame. What the forecasts were off by shows in ``posestream top``.

    The memory of a person lasts for some seconds and is lost after an absence of half a second, and when its part is
    restarted; forecasts then begin with the person's first two frames.
    """

    sink = Caps("people/poses")
    src = Caps("people/poses")

    horizon: Annotated[
        Literal["auto"] | Annotated[float, Meta(ge=0, le=MAX_HORIZON_MS)],
        Meta(
            description="milliseconds from the frame's capture; auto: its age and half a frame period; 0: no forecast"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}

    def __enter__(self) -> Self:
        self._cameras = {}
        return self

    def process(self, item: Poses) -> Iterator[Poses]:
        frame = item.frame
        camera = self._cameras.get(frame.camera)
        if camera is None or camera.is_cut_by(item):
            camera = self._cameras[frame.camera] = _Camera(item.skeleton)
        horizon_ms = self._horizon_ms(camera, frame)
        if horizon_ms < MIN_HORIZON_MS:
            camera.pts_ns = frame.pts_ns
            yield item
            return
        joints = camera.step(item, horizon_ms / 1e3)
        until_ms = min(horizon_ms + EXTRAPOLATION_MS, MAX_HORIZON_MS)
        forecast = Forecast(frame.wall_ns + _to_ns(horizon_ms), frame.wall_ns + _to_ns(until_ms), joints)
        made = dataclasses.replace(item, forecast=forecast)
        camera.truth.observe(made, self.context.now_ns())
        yield made

    def flush(self, camera: str | None = None) -> Iterator[Poses]:
        """Drop the memory of ``camera``; nothing is held back."""
        for name in [camera] if camera is not None else list(self._cameras):
            self._cameras.pop(name, None)
        yield from ()

    def status(self) -> str:
        """How far ahead the forecasts are, and the mean error of those that were due, beside that of holding."""
        return "; ".join(f"{name} {camera.describe()}" for name, camera in self._cameras.copy().items())

    def _horizon_ms(self, camera: _Camera, frame: Frame) -> float:
        if self.horizon != AUTO:
            return float(self.horizon)
        age_ms = (self.context.now_ns() - frame.wall_ns) / 1e6
        return min(max(age_ms, 0.0) + camera.period_ms(frame.pts_ns) / 2, MAX_HORIZON_MS)


@dataclass
class _Camera:
    """What is remembered of a camera: its frame periods and the motion of its people."""

    skeleton: str
    pts_ns: int = -1
    _periods_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_PERIODS))
    _times_ns: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_PERIODS))
    _horizon_s: float = 0.0

    def __post_init__(self) -> None:
        known = SKELETONS.get(self.skeleton)
        self._forecaster = Forecaster(known.limbs if known else ())
        self.truth = _StreamingError()

    def is_cut_by(self, item: Poses) -> bool:
        """True if ``item`` does not continue the camera's motion."""
        return item.frame.pts_ns <= self.pts_ns or item.skeleton != self.skeleton

    def period_ms(self, pts_ns: int) -> float:
        """The usual time between two frames, with the one at ``pts_ns``; 0 before the second one."""
        if self.pts_ns >= 0:
            self._periods_ms.append((pts_ns - self.pts_ns) / 1e6)
        return median(self._periods_ms) if self._periods_ms else 0.0

    def step(self, item: Poses, horizon_s: float) -> NDArray[np.float32]:
        """Forecast the people, (N, K, 5); motion is measured by the source's clock, the horizon by that of the host."""
        self.pts_ns, self._horizon_s = item.frame.pts_ns, horizon_s
        self._times_ns.append((item.frame.pts_ns, item.frame.wall_ns))
        slowness = self._measure_slowness()
        sizes = (item.boxes[:, 2:] - item.boxes[:, :2]).max(1, initial=0.0).astype(np.float64)
        joints = _hold(item.keypoints, sizes)
        has_id = item.ids != NO_ID
        joints[has_id] = self._forecaster.step(
            item.ids[has_id], item.keypoints[has_id], sizes[has_id], item.frame.pts_ns / 1e9, horizon_s / slowness
        )
        joints[..., 2:4] /= slowness
        return joints

    def _measure_slowness(self) -> float:
        """How much longer a second of the source takes: 1 for a camera, more for one that cannot keep its pace."""
        (first_pts_ns, first_ns), (last_pts_ns, last_ns) = self._times_ns[0], self._times_ns[-1]
        if len(self._times_ns) < _PERIODS:
            return 1.0
        slowness = (last_ns - first_ns) / (last_pts_ns - first_pts_ns)
        return slowness if slowness > _SLOW else 1.0

    def describe(self) -> str:
        """The horizon and the errors."""
        made = self._forecaster
        return (
            f"{1e3 * self._horizon_s:.0f} ms ahead, off by {made.error_px:.1f} px where holding is by "
            f"{made.motion_px:.1f} px{self.truth.describe()}"
        )


class _StreamingError:
    """The error of what a reader knew at the moment of each frame against the frame's ground truth, if it has one."""

    def __init__(self) -> None:
        self._made: deque[tuple[int, Poses]] = deque(maxlen=_REMEMBERED)
        self._sums = np.zeros(3)

    def observe(self, made: Poses, now_ns: int) -> None:
        """Take what leaves the element at ``now_ns``."""
        truth, moment_ns = made.frame.truth, made.frame.wall_ns
        if truth is None or made.keypoints.shape[1] != truth.keypoints.shape[1]:
            return
        known = next((one for ready_ns, one in reversed(self._made) if ready_ns <= moment_ns), None)
        self._made.append((now_ns, made))
        if known is None or known.forecast is None:
            return
        found, true = match_boxes(known.boxes, truth.boxes)
        wanted, visible = truth.keypoints[true, :, :2], truth.keypoints[true, :, 2] == VISIBLE
        guesses = known.forecast.points_at(moment_ns)[found], known.keypoints[found, :, :2]
        off, held = (np.linalg.norm(guess - wanted, axis=-1)[visible].sum() for guess in guesses)
        self._sums = _KEPT * self._sums + (off, held, visible.sum())

    def describe(self) -> str:
        """Both errors, px; empty without ground truth."""
        off, held, count = self._sums.tolist()
        return f"; streaming error {off / count:.1f} px, {held / count:.1f} px held" if count else ""


def _hold(keypoints: NDArray[np.float32], sizes: NDArray[np.float64]) -> NDArray[np.float32]:
    """The forecast that all stay where they are."""
    joints = np.zeros((*keypoints.shape[:2], 5), np.float32)
    joints[..., :2] = keypoints[..., :2]
    joints[..., 4] = _UNKNOWN_SPREAD * sizes[:, None]
    return joints


def _to_ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)
