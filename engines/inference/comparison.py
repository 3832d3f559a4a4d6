"""Comparison of two engines on the same windows: keypoints, scores and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.inference.engine import Engine, Keypoints, PersonWindows
from engines.metrics import Pck, find_correct
from engines.vision import crop

PERCENTILE = 99.0
"""Per cent of keypoints that must lie within a bound. Not all: if two peaks of a heatmap are almost equally high, the
last digit decides between them, and the heatmap of an invisible keypoint has many such peaks."""


@dataclass(frozen=True)
class Difference:
    """The keypoints ``first`` and ``second`` (N, K, 3) of both engines for one window.

    ``crop_scale`` (N,) is crop pixels per frame pixel.
    """

    window: PersonWindows
    first: Keypoints
    second: Keypoints
    crop_scale: NDArray[np.float64]

    @property
    def frame_px(self) -> NDArray[np.float64]:
        """Distances (N, K) between keypoints in pixels of the frame."""
        distances: NDArray[np.float64] = np.hypot(*np.moveaxis(self.first[..., :2] - self.second[..., :2], -1, 0))
        return distances

    @property
    def crop_px(self) -> NDArray[np.float64]:
        """Distances (N, K) in pixels of the first engine's crop, independent of a person's size in the frame."""
        distances: NDArray[np.float64] = self.frame_px * self.crop_scale[:, None]
        return distances

    @property
    def scores(self) -> NDArray[np.float64]:
        """Absolute differences (N, K) of scores."""
        return np.abs(self.first[..., 2].astype(np.float64) - self.second[..., 2])


@dataclass(frozen=True)
class Spread:
    """Maximum, mean, and the :data:`PERCENTILE` of differences."""

    max: float
    mean: float
    percentile: float


@dataclass
class Comparison:
    """Differences of all windows, and seconds that each engine took for each window."""

    differences: list[Difference] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    second_s: list[float] = field(default_factory=list)

    @property
    def people(self) -> int:
        """The number of people compared."""
        return sum(len(difference.window) for difference in self.differences)

    def compute_spread(self, get_values: Callable[[Difference], NDArray[np.float64]]) -> Spread:
        """The spread over all keypoints, such as of ``lambda difference: difference.crop_px``."""
        values = np.concatenate([get_values(difference).ravel() for difference in self.differences])
        return Spread(float(values.max()), float(values.mean()), float(np.percentile(values, PERCENTILE)))

    def compute_pck(self, alpha: float) -> Pck:
        """PCK of the second engine's keypoints, with the first's as the truth; see :mod:`engines.metrics`."""
        return sum((_compute_pck(difference, alpha) for difference in self.differences), Pck())

    def agrees(self, bound_px: float) -> bool:
        """True if :data:`PERCENTILE` per cent of keypoints are within ``bound_px``, in pixels of the crop."""
        return self.compute_spread(lambda difference: difference.crop_px).percentile <= bound_px

    @property
    def worst(self) -> Difference:
        """The window with the largest distance between two keypoints."""
        return max(self.differences, key=lambda difference: float(difference.crop_px.max()))


def _compute_pck(difference: Difference, alpha: float) -> Pck:
    is_near = find_correct(difference.second, difference.first, difference.window.boxes, alpha)
    return Pck(int(is_near.sum()), is_near.size)


def check_comparable(first: Engine, second: Engine) -> None:
    """Raise :class:`EngineError` unless both engines have the same window and skeleton."""
    descriptions = [
        f"{engine.signature.name!r} returns {engine.signature.skeleton} of past {engine.signature.past}, "
        f"future {engine.signature.future}"
        for engine in (first, second)
    ]
    one, other = first.signature, second.signature
    if (one.past, one.future, one.skeleton) != (other.past, other.future, other.skeleton):
        raise EngineError(
            f"{' and '.join(descriptions)}: only networks of one skeleton and window can be compared; "
            "'posestream models' lists what each reads"
        )


def compare(
    first: Engine, second: Engine, windows: Iterable[PersonWindows], on_window: Callable[[], None] = lambda: None
) -> Comparison:
    """Run both engines on ``windows``, leaving out those without people; ``on_window`` is called after each.

    The first window is run twice, to keep initialisation out of the times. Raises :class:`EngineError` as the engines
    do, and if no window has people.
    """
    check_comparable(first, second)
    comparison = Comparison()
    for window in windows:
        if len(window):
            if not comparison.differences:
                first.estimate([window]), second.estimate([window])
            comparison.differences.append(_difference(first, second, window, comparison))
        on_window()
    if not comparison.differences:
        raise EngineError("no window has people, so there is nothing to compare; give frames with people")
    return comparison


def _difference(first: Engine, second: Engine, window: PersonWindows, comparison: Comparison) -> Difference:
    keypoints = _run_timed(first, window, comparison.first_s)
    others = _run_timed(second, window, comparison.second_s)
    scales = np.array([_compute_crop_scale(first, box) for box in window.boxes])
    return Difference(window, keypoints, others, scales)


def _run_timed(engine: Engine, window: PersonWindows, seconds: list[float]) -> Keypoints:
    start = time.perf_counter()
    (keypoints,) = engine.estimate([window])
    seconds.append(time.perf_counter() - start)
    return keypoints


def _compute_crop_scale(engine: Engine, box: NDArray[np.float32]) -> float:
    """Crop pixels per frame pixel."""
    affine = crop.box_to_affine(box, engine.signature.input_size, enlarge=engine.signature.enlarge)
    return float(np.sqrt(abs(np.linalg.det(np.asarray(affine, np.float64)[:, :2]))))
