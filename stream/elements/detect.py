"""``detect``: finds the people in each frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.inference.detector import Detector, load_detector
from stream.caps import Caps
from stream.element import Transform
from stream.errors import ModelError
from stream.messages import Frame, People, people_of

TRUTH = "truth"
AUTO = "auto"
DEFAULT_MODEL = "yolox-nano"

Boxes = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass
class Detect(Transform):
    """Runs a detection network, and passes on boxes and scores, best first.

    ``model`` is a path to an ``.onnx`` (YOLOX, NanoDet, or any export of boxes and scores; recognised by its outputs,
    or told by ``family``), a name of the catalogue (docs/reference/models.md), or ``truth``: what a synthetic source
    knows. ``auto`` takes the truth of frames that have one, and yolox-nano for others.

    With ``interval=N`` only one frame in N is looked at; the others carry the last boxes, marked as not detected, and a
    ``track`` downstream moves them on.
    """

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    model: Annotated[str, Meta(description="an .onnx, a name of the catalogue, 'truth', or 'auto'")] = AUTO
    family: Annotated[
        Literal["auto", "yolox", "yolox-decoded", "nanodet", "boxes-scores"],
        Meta(description="how the network's outputs are read; auto looks at their shapes"),
    ] = "auto"
    min_score: Annotated[float, Meta(ge=0, le=1, description="boxes below this score are dropped")] = 0.4
    iou: Annotated[
        float,
        Meta(ge=0, le=1, description="of two boxes that overlap by more, only the better is kept; more for crowds"),
    ] = 0.45
    max_people: Annotated[int, Meta(ge=1, description="the best are kept when there are more")] = 50
    min_height_px: Annotated[float, Meta(ge=0, description="smaller people are dropped")] = 0.0
    interval: Annotated[int, Meta(ge=1, le=1000, description="look at one frame in so many")] = 1
    backend: Annotated[str, Meta(description="who runs the network")] = "auto"
    threads: Annotated[int, Meta(ge=1, description="processor threads of the network")] = 1

    def __post_init__(self) -> None:
        self._detector: Detector | None = None
        self._cameras: dict[str, _Last] = {}

    @property
    def reach(self) -> int:
        """The frame whose boxes the others of its interval carry."""
        return self.interval - 1

    def __enter__(self) -> Self:
        self._cameras = {}
        if self.model not in (AUTO, TRUTH):
            self._open(self.model)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._detector is not None:
            self._detector.close()
            self._detector = None

    def process(self, item: Frame) -> Iterator[People]:
        last = self._cameras.setdefault(item.camera, _Last())
        due = last.block != item.seq // self.interval
        if due:
            last.block, last.boxes = item.seq // self.interval, self._found(item)
        yield people_of(item.stamped("detected", self.context.now_ns()), *last.boxes, detected=due)

    def flush(self, camera: str | None = None) -> Iterator[People]:
        """A camera that begins again is looked at at once."""
        for name in list(self._cameras) if camera is None else [camera]:
            self._cameras.pop(name, None)
        yield from ()

    def _found(self, frame: Frame) -> Boxes:
        boxes, scores = self._seen(frame)
        tall = boxes[:, 3] - boxes[:, 1] >= self.min_height_px
        boxes, scores = boxes[tall], scores[tall]
        best = np.sort(np.argsort(-scores, kind="stable")[: self.max_people])
        return boxes[best], scores[best]

    def _seen(self, frame: Frame) -> Boxes:
        if self.model == TRUTH or (self.model == AUTO and frame.truth is not None):
            return _truth_of(frame)
        detector = self._detector or self._open(DEFAULT_MODEL)
        try:
            return detector.detect(frame.pixels, self.min_score, self.iou)
        except EngineError as error:
            raise ModelError(f"detect: {error}") from error

    def _open(self, model: str) -> Detector:
        try:
            detector = load_detector(model, self.family, self.backend, self.threads)
            detector.open()
        except EngineError as error:
            raise ModelError(f"detect: {error}") from error
        self._detector = detector
        return detector


@dataclass
class _Last:
    """What a camera's last look found, and in which interval it was."""

    block: int | None = None
    boxes: Boxes = field(default_factory=lambda: (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))


def _truth_of(frame: Frame) -> Boxes:
    if frame.truth is None:
        raise ModelError(
            f"detect: model=truth, but frame {frame.seq} of camera {frame.camera!r} brings none; "
            "only testsrc knows the truth: give the model= of a detector"
        )
    return frame.truth.boxes, np.ones(len(frame.truth.boxes), np.float32)
