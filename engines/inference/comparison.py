"""How far apart two engines are that were asked the same: keypoints, scores and speed."""

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
"""Per cent of keypoints that have to lie within the bound. Not all: where two tops of a heatmap are nearly as high, the
last digit decides between them, and a keypoint that nobody can see has many such tops."""


@dataclass(frozen=True)
class Difference:
    """One window's people by both engines: ``first`` and ``second`` (N, K, 3); ``crop_scale`` (N,) px of crop a px."""

    window: PersonWindows
    first: Keypoints
    second: Keypoints
    crop_scale: NDArray[np.float64]

    @property
    def frame_px(self) -> NDArray[np.float64]:
        """(N, K) how far apart, in pixels of the frame."""
        apart: NDArray[np.float64] = np.hypot(*np.moveaxis(self.first[..., :2] - self.second[..., :2], -1, 0))
        return apart

    @property
    def crop_px(self) -> NDArray[np.float64]:
        """(N, K) the same in pixels of the first engine's crop, which do not depend on how near a person stands."""
        apart: NDArray[np.float64] = self.frame_px * self.crop_scale[:, None]
        return apart

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N, K) how far their scores are apart."""
        return np.abs(self.first[..., 2].astype(np.float64) - self.second[..., 2])


@dataclass(frozen=True)
class Spread:
    """The largest, the mean, and what :data:`PERCENTILE` do not exceed."""

    largest: float
    mean: float
    nearly_all: float


@dataclass
class Comparison:
    """All windows' differences, and how long each engine took for each window, in seconds."""

    differences: list[Difference] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    second_s: list[float] = field(default_factory=list)

    @property
    def people(self) -> int:
        """How many were compared."""
        return sum(len(difference.window) for difference in self.differences)

    def spread(self, of: Callable[[Difference], NDArray[np.float64]]) -> Spread:
        """Over all keypoints, such as ``spread(lambda difference: difference.crop_px)``."""
        values = np.concatenate([of(difference).ravel() for difference in self.differences])
        return Spread(float(values.max()), float(values.mean()), float(np.percentile(values, PERCENTILE)))

    def pck(self, alpha: float) -> Pck:
        """The share of the second's keypoints that lie within ``alpha`` of the box's longer side of the first's."""
        return sum((_pck(difference, alpha) for difference in self.differences), Pck())

    def agrees(self, bound_px: float) -> bool:
        """True when nearly all keypoints lie within ``bound_px``, in pixels of the crop."""
        return self.spread(lambda difference: difference.crop_px).nearly_all <= bound_px

    @property
    def worst(self) -> Difference:
        """The window with the two keypoints that lie farthest apart."""
        return max(self.differences, key=lambda difference: float(difference.crop_px.max()))


def _pck(difference: Difference, alpha: float) -> Pck:
    near = find_correct(difference.second, difference.first, difference.window.boxes, alpha)
    return Pck(int(near.sum()), near.size)


def check_comparable(first: Engine, second: Engine) -> None:
    """Raise :class:`EngineError` unless both take the same windows and give the same joints."""
    told = [
        f"{engine.signature.name!r} gives {engine.signature.skeleton} of past {engine.signature.past}, "
        f"future {engine.signature.future}"
        for engine in (first, second)
    ]
    one, other = first.signature, second.signature
    if (one.past, one.future, one.skeleton) != (other.past, other.future, other.skeleton):
        raise EngineError(
            f"{' and '.join(told)}: only networks of one skeleton and window can be compared; "
            "'posestream models' lists what each reads"
        )


def compare(
    first: Engine, second: Engine, windows: Iterable[PersonWindows], done: Callable[[], None] = lambda: None
) -> Comparison:
    """Ask both the same; ``done`` is called after every window. Windows without people are left out.

    The first window is asked twice, since whatever is chosen or taken on first use is no measure of speed. Raises
    :class:`EngineError` as the engines do, and where nobody was in any window.
    """
    check_comparable(first, second)
    comparison = Comparison()
    for window in windows:
        if len(window):
            if not comparison.differences:
                first.estimate([window]), second.estimate([window])
            comparison.differences.append(_difference(first, second, window, comparison))
        done()
    if not comparison.differences:
        raise EngineError("nobody was found in any window, so there is nothing to compare; give frames with people")
    return comparison


def _difference(first: Engine, second: Engine, window: PersonWindows, comparison: Comparison) -> Difference:
    one = _timed(first, window, comparison.first_s)
    other = _timed(second, window, comparison.second_s)
    scales = np.array([_crop_scale(first, box) for box in window.boxes])
    return Difference(window, one, other, scales)


def _timed(engine: Engine, window: PersonWindows, seconds: list[float]) -> Keypoints:
    start = time.perf_counter()
    (keypoints,) = engine.estimate([window])
    seconds.append(time.perf_counter() - start)
    return keypoints


def _crop_scale(engine: Engine, box: NDArray[np.float32]) -> float:
    """Crop pixels a frame pixel."""
    affine = crop.box_to_affine(box, engine.signature.input_size, enlarge=engine.signature.enlarge)
    return float(np.sqrt(abs(np.linalg.det(np.asarray(affine, np.float64)[:, :2]))))
