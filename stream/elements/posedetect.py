"""``posedetect``: finds everybody and their keypoints in each frame, in one run of one network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from engines.errors import EngineError
from engines.inference.single_stage import Found, PictureEngine, find_picture_manifest, load_picture_engine
from engines.spec.picture_signature import PictureSignature
from stream.caps import Caps
from stream.element import Transform
from stream.errors import ModelError
from stream.messages import Frame, Poses, WindowFrame

NOBODY = -1


@dataclass
class PoseDetect(Transform):
    """Runs a single-stage pose network (InsPose) on whole frames: what it does for poses, ``detect`` does for boxes.

    It stands in place of ``detect``, ``window`` and ``pose``: what it costs does not grow with the number of people.
    Nobody has an id yet; ``track`` after it gives them. A person's box is the one its network tells people apart by,
    and every joint has the person's score where the network has none of single joints.
    """

    sink = Caps("video/raw")
    src = Caps("people/poses")

    model: Annotated[str, Meta(description="the folder that 'posestream export inspose-…' made")]
    backend: Annotated[str, Meta(description="who runs the network")] = "auto"
    threads: Annotated[int, Meta(ge=1, description="processor threads of the network")] = 1
    min_score: Annotated[
        float, Meta(ge=0, le=1, description="people below this score are dropped, after doubles were suppressed")
    ] = 0.3
    max_batch: Annotated[
        int,
        Meta(ge=1, le=64, description="frames that may share a run when several wait; more for GPUs and many cameras"),
    ] = 1

    def __post_init__(self) -> None:
        self._engine: PictureEngine | None = None
        self._known: PictureSignature | None = None

    @property
    def signature(self) -> PictureSignature:
        """What the model eats and returns; read without opening it. Raises :class:`ModelError`."""
        if self._known is None:
            try:
                self._known = find_picture_manifest(self.model).signature
            except EngineError as error:
                raise ModelError(f"posedetect: {error}") from error
        return self._known

    def offers(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        return Caps("people/poses", skeleton=self.signature.skeleton)

    def __enter__(self) -> Self:
        try:
            self._engine = load_picture_engine(self.model, self.backend, self.threads, self.max_batch)
            self._engine.open()
        except EngineError as error:
            raise ModelError(f"posedetect: {error}") from error
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
            raise ModelError(f"posedetect: model {self.model!r} is not open; use the element in a 'with'")
        try:
            everybody = engine.estimate([frame.pixels for frame in items])
        except EngineError as error:
            raise ModelError(f"posedetect: {error}") from error
        for frame, found in zip(items, everybody, strict=True):
            yield self._poses(engine, frame, found)

    def _poses(self, engine: PictureEngine, frame: Frame, found: Found) -> Poses:
        sure = found.scores >= self.min_score
        return Poses(
            frame=frame.stamped("inferred", self.context.now_ns()),
            boxes=found.boxes[sure],
            scores=found.scores[sure],
            ids=np.full(int(sure.sum()), NOBODY, np.int64),
            keypoints=found.keypoints[sure],
            skeleton=engine.signature.skeleton,
            model=engine.signature.name,
            fingerprint=engine.fingerprint,
            window=(WindowFrame(0, frame.seq, frame.pts_ns, "real"),),
        )
