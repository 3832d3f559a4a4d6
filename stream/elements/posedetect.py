"""``posedetect``: finds people and their keypoints in each frame with a single-stage network."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
from msgspec import Meta

from engines.backends.registry import check_installed
from engines.errors import EngineError
from engines.hub.catalogue import REAL_PEOPLE_BY_ONE, is_entry
from engines.hub.lookup import find_model
from engines.inference.single_stage import DetectedPeople, PictureEngine, load_picture_engine, load_picture_signature
from engines.spec.model_files import is_model_file
from engines.spec.picture_signature import PictureSignature
from engines.spec.training_data import describe_mismatch
from stream.caps import Caps
from stream.element import Source, Transform
from stream.messages import NO_ID, Frame, Poses, WindowFrame

_log = logging.getLogger(__name__)


@dataclass
class PoseDetect(Transform):
    """Runs a single-stage pose network (InsPose, YOLO-pose, RTMO) on whole frames.

    Without ``model``, that is RTMO-s, once ``posestream pull rtmo-s`` has fetched it.

    It replaces ``detect``, ``window`` and ``pose``; its cost does not grow with the number of people. People have no
    ids; put ``track`` after it to assign them. A person's box is the one the network suppresses duplicates by, and
    every joint has the person's score if the network has no scores of joints.
    """

    sink = Caps("video/raw")
    src = Caps("people/poses")

    model: Annotated[
        str,
        Meta(
            description="a name from the catalogue, the folder written by 'posestream export inspose-…', or an .onnx, "
            ".xml or .tflite"
        ),
    ] = REAL_PEOPLE_BY_ONE
    backend: Annotated[str, Meta(description="backend that runs the network")] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | Literal["auto"],
        Meta(description="CPU threads, each for frames of its own; auto: as many as there are cores"),
    ] = "auto"
    min_score: Annotated[
        float, Meta(ge=0, le=1, description="people below this score are dropped, after duplicates were suppressed")
    ] = 0.3
    max_batch: Annotated[
        int,
        Meta(ge=1, le=64, description="waiting frames that are taken at once; raise it for GPUs and many cameras"),
    ] = 4

    def __post_init__(self) -> None:
        self._engine: PictureEngine | None = None
        self._signature: PictureSignature | None = None
        self._is_checked = False

    @property
    def signature(self) -> PictureSignature:
        """The model's inputs and outputs; read without opening an export. Raises :class:`EngineError`."""
        if self._signature is None:
            self._signature = load_picture_signature(self.model)
        return self._signature

    def networks(self) -> Iterator[str]:
        yield self.model

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002
        if not is_model_file(self.model) and is_entry(self.model):
            model = find_model(self.model, "single-stage")
            model.check()
            check_installed(model.path, self.backend)

    def src_caps(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        return Caps("people/poses", skeleton=self.signature.skeleton)

    def __enter__(self) -> Self:
        self._engine = load_picture_engine(self.model, self.backend, self.threads, self.max_batch)
        self._engine.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def process(self, item: Frame) -> Iterator[Poses]:
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Frame]) -> Iterator[Poses]:
        engine = self._engine
        if engine is None:
            raise EngineError(f"model {self.model!r} is not open; use the element in a 'with'")
        self._warn_of_training(engine, items[0])
        estimates = engine.estimate([frame.pixels for frame in items])
        for frame, found in zip(items, estimates, strict=True):
            yield self._poses(engine, frame, found)

    def _warn_of_training(self, engine: PictureEngine, frame: Frame) -> None:
        """Say once that the network is shown pictures of a kind that it has not learned from."""
        if not self._is_checked and self.context.incarnation == 0:
            signature, is_drawn = engine.signature, frame.truth is not None
            if warning := describe_mismatch(signature.name, signature.trained_on, is_drawn=is_drawn):
                _log.warning("%s", warning)
        self._is_checked = True

    def _poses(self, engine: PictureEngine, frame: Frame, found: DetectedPeople) -> Poses:
        is_kept = found.scores >= self.min_score
        return Poses(
            frame=frame.stamp("inferred", self.context.now_ns()),
            boxes=found.boxes[is_kept],
            scores=found.scores[is_kept],
            ids=np.full(int(is_kept.sum()), NO_ID, np.int64),
            keypoints=found.keypoints[is_kept],
            skeleton=engine.signature.skeleton,
            model=engine.signature.name,
            fingerprint=engine.fingerprint,
            window=(WindowFrame(0, frame.seq, frame.pts_ns, "real"),),
        )
