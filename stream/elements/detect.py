"""``detect``: finds the people in each frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.backends.registry import check_installed
from engines.errors import EngineError
from engines.hub.catalogue import REAL_PEOPLE_DETECTOR
from engines.hub.lookup import find_model
from engines.inference.detector import Detector, load_detector
from engines.spec.training_data import describe_mismatch
from stream.caps import Caps
from stream.element import Source, Transform, drawn_by_all
from stream.messages import Frame, People

_log = logging.getLogger(__name__)

TRUTH = "truth"
AUTO = "auto"

Boxes = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass
class Detect(Transform):
    """Detects people with a network; boxes and scores are sorted best first.

    ``model`` is a path to an ``.onnx``, ``.xml`` or ``.tflite`` (YOLO of any kind, RT-DETR, NanoDet, any export of
    boxes and scores; recognised by its outputs for a trial picture, or given as ``family``), a name from the catalogue
    (docs/reference/models.md), or ``truth``, the ground truth of a synthetic source. ``auto`` uses the ground truth of
    frames that have it, and yolox-nano for the others; that one is downloaded when it is needed first.

    With ``interval=N`` the detector runs on one frame in N; the others carry the last boxes, marked as not detected,
    and a ``track`` downstream moves them.
    """

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    model: Annotated[
        str, Meta(description="an .onnx, .xml or .tflite, a name from the catalogue, 'truth', or 'auto'")
    ] = AUTO
    family: Annotated[
        Literal[
            "auto", "yolox", "yolox-decoded", "yolov5", "yolov8", "end-to-end", "nanodet", "dets-labels", "boxes-scores"
        ],
        Meta(description="format of the network's outputs; auto decides by them, on a trial picture"),
    ] = "auto"
    min_score: Annotated[float, Meta(ge=0, le=1, description="boxes below this score are dropped")] = 0.4
    iou: Annotated[
        float,
        Meta(ge=0, le=1, description="of two boxes that overlap by this much, the worse loses that share of its score"),
    ] = 0.45
    max_people: Annotated[int, Meta(ge=1, description="the best are kept when there are more")] = 50
    min_height_px: Annotated[float, Meta(ge=0, description="smaller people are dropped")] = 0.0
    interval: Annotated[int, Meta(ge=1, le=1000, description="detect on one frame in this many")] = 1
    backend: Annotated[str, Meta(description="backend that runs the network")] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | Literal["auto"],
        Meta(description="CPU threads, each for a frame of its own; auto: as many as there are cores"),
    ] = "auto"
    max_batch: Annotated[int, Meta(ge=1, le=64, description="waiting frames that are taken at once")] = 4

    def __post_init__(self) -> None:
        self._detector: Detector | None = None
        self._cameras: dict[str, _Detections] = {}
        self._is_drawn = self._is_checked = False

    def set_sources(self, sources: Sequence[Source]) -> None:
        self._is_drawn = drawn_by_all(sources)

    def networks(self) -> Iterator[str]:
        if self.model != TRUTH and not (self.model == AUTO and self._is_drawn):
            yield self._network

    @property
    def _network(self) -> str:
        return REAL_PEOPLE_DETECTOR if self.model == AUTO else self.model

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002
        for name in self.networks():
            model = find_model(name, "detector")
            model.check()
            check_installed(model.path, self.backend)

    @property
    def reach(self) -> int:
        """Frames of an interval carry the boxes of its first frame."""
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
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Frame]) -> Iterator[People]:
        due = self._find_due(items)
        found = dict(zip(due, map(self._select, self._detect([items[index] for index in due])), strict=True))
        for index, item in enumerate(items):
            last = self._cameras.setdefault(item.camera, _Detections())
            if index in found:
                last.interval, last.boxes = item.seq // self.interval, found[index]
            frame = item.stamp("detected", self.context.now_ns())
            yield People.from_boxes(frame, *last.boxes, detected=index in found)

    def _find_due(self, items: Sequence[Frame]) -> list[int]:
        """Indices of the frames that begin an interval of their camera; changes nothing, since detection may fail."""
        intervals = {camera: last.interval for camera, last in self._cameras.items()}
        due = []
        for index, item in enumerate(items):
            interval = item.seq // self.interval
            if intervals.get(item.camera) != interval:
                due.append(index)
                intervals[item.camera] = interval
        return due

    def flush(self, camera: str | None = None) -> Iterator[People]:
        """Forget the last boxes, so that detection runs on the first frame of a restarted stream."""
        for name in list(self._cameras) if camera is None else [camera]:
            self._cameras.pop(name, None)
        yield from ()

    def _select(self, found: Boxes) -> Boxes:
        """The best people that are tall enough."""
        boxes, scores = found
        tall = boxes[:, 3] - boxes[:, 1] >= self.min_height_px
        boxes, scores = boxes[tall], scores[tall]
        best = np.sort(np.argsort(-scores, kind="stable")[: self.max_people])
        return boxes[best], scores[best]

    def _detect(self, frames: Sequence[Frame]) -> list[Boxes]:
        unknown = iter(self._run([frame for frame in frames if not self._reads_truth(frame)]))
        return [_read_truth(frame) if self._reads_truth(frame) else next(unknown) for frame in frames]

    def _reads_truth(self, frame: Frame) -> bool:
        return self.model == TRUTH or (self.model == AUTO and frame.truth is not None)

    def _run(self, frames: Sequence[Frame]) -> list[Boxes]:
        if not frames:
            return []
        detector = self._detector or self._open(self._network)
        self._warn_of_training(detector, frames[0])
        return detector.detect_each([frame.pixels for frame in frames], self.min_score, self.iou)

    def _warn_of_training(self, detector: Detector, frame: Frame) -> None:
        """Say once that the network is shown pictures of a kind that it has not learned from."""
        if not self._is_checked and self.context.incarnation == 0:
            trained_on, is_drawn = detector.resolved.trained_on, frame.truth is not None
            if warning := describe_mismatch(detector.name, trained_on, is_drawn=is_drawn):
                _log.warning("%s", warning)
        self._is_checked = True

    def _open(self, model: str) -> Detector:
        detector = load_detector(model, self.family, self.backend, self.threads)
        detector.open()
        self._detector = detector
        return detector


@dataclass
class _Detections:
    """The last detections of a camera and the number of their interval."""

    interval: int | None = None
    boxes: Boxes = field(default_factory=lambda: (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))


def _read_truth(frame: Frame) -> Boxes:
    if frame.truth is None:
        raise EngineError(
            f"model=truth, but frame {frame.seq} of camera {frame.camera!r} has no ground truth; "
            "only testsrc provides it: set model= to a detector"
        )
    return frame.truth.boxes, np.ones(len(frame.truth.boxes), np.float32)
