"""``detect``: finds the people in each frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.hub.lookup import find_model
from engines.inference.detector import Detector, load_detector
from stream.caps import Caps
from stream.element import Source, Transform
from stream.messages import Frame, People

TRUTH = "truth"
AUTO = "auto"
DEFAULT_MODEL = "yolox-nano"

Boxes = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass
class Detect(Transform):
    """Detects people with a network; boxes and scores are sorted best first.

    ``model`` is a path to an ``.onnx``, ``.xml`` or ``.tflite`` (YOLO of any kind, RT-DETR, NanoDet, any export of
    boxes and scores; recognised by its outputs for a trial picture, or given as ``family``), a name from the catalogue
    (docs/reference/models.md), or ``truth``, the ground truth of a synthetic source. ``auto`` uses the ground truth of
    frames that have it, and yolox-nano for the others.

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
        Meta(ge=0, le=1, description="of two boxes that overlap by more, only the better is kept; raise it for crowds"),
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

    def check(self, sources: Sequence[Source]) -> None:
        if self.model != TRUTH and (self.model != AUTO or any(source.has_truth is False for source in sources)):
            self._find()

    def _find(self) -> None:
        """Raise :class:`EngineError` if the network is not here; for AUTO it is the default one."""
        try:
            find_model(DEFAULT_MODEL if self.model == AUTO else self.model, "detector").check()
        except EngineError as error:
            if self.model != AUTO:
                raise
            raise EngineError(f"no detector is named (model=, --detector), and of the default one: {error}") from error

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
        unknown = iter(self._run([frame.pixels for frame in frames if not self._reads_truth(frame)]))
        return [_read_truth(frame) if self._reads_truth(frame) else next(unknown) for frame in frames]

    def _reads_truth(self, frame: Frame) -> bool:
        return self.model == TRUTH or (self.model == AUTO and frame.truth is not None)

    def _run(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        if not pictures:
            return []
        if self._detector is None:
            self._find()
        detector = self._detector or self._open(DEFAULT_MODEL)
        return detector.detect_each(pictures, self.min_score, self.iou)

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
