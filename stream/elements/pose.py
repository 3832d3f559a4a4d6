"""``pose``: estimates keypoints from windows of frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Annotated, Literal, Self

from msgspec import Meta

from engines.backends.registry import check_installed
from engines.errors import EngineError
from engines.hub.catalogue import DEFAULT_MODEL, REAL_PEOPLE_POSE
from engines.hub.lookup import find_model
from engines.inference.engine import MARGIN, PEOPLE, Crop, Engine, Keypoints, PersonWindows, Work, load, load_signature
from engines.spec.signature import Signature
from engines.spec.training_data import describe_mismatch
from stream.caps import Caps
from stream.element import Source, Transform, drawn_by_all
from stream.errors import PropertyError
from stream.messages import FrameState, Poses, Window, WindowFrame
from stream.registry import label

_log = logging.getLogger(__name__)

AUTO = "auto"


@dataclass
class Pose(Transform):
    """Runs a top-down pose network on the people of each window: crop, network, decoding, mapping back to the frame.

    Without a ``model``, hrnet-small runs on the people that testsrc draws, and tinypose-256x192 on all others; that one
    is downloaded when it is needed first.

    The model's Signature fixes the length of the windows, ``past`` and ``future``, when the line is linked. All people
    of all waiting windows, of any camera, share one batch. A frame without people yields Poses without people, so that
    subscribers see it.

    A network that reads future frames makes the line wait for them. With a smaller ``lookahead`` it waits for fewer,
    with ``lookahead=0`` for none: the newest frame takes their place, as the papers do at the end of a clip.

    A temporal network exported as two graphs (see docs/reference/models.md) can compute each frame of a person once and
    cache its features while the person's crop is unchanged: crop=lock, which auto uses where it can. crop=exact follows
    the papers: each key frame crops and computes its whole window. Caching needs ids, so put track before.
    """

    sink = Caps("people/window")
    src = Caps("people/poses")

    model: Annotated[
        str,
        Meta(
            description="a name that 'posestream models' lists, the folder of an export, or an .onnx with its "
            "Signature; auto chooses by what flows"
        ),
    ] = AUTO
    backend: Annotated[str, Meta(description="backend that runs the network: NAME or NAME:MODE, e.g. onnxrt:cuda")] = (
        "auto"
    )
    threads: Annotated[
        Annotated[int, Meta(ge=1)] | Literal["auto"],
        Meta(description="CPU threads, each for people of its own; auto: as many as there are cores"),
    ] = "auto"
    max_batch: Annotated[int, Meta(ge=1, le=256, description="waiting windows that may share a run")] = 8
    crop: Annotated[
        Crop,
        Meta(
            description="lock: keep a person's crop; exact: a new crop for every key frame; auto: lock where possible"
        ),
    ] = "auto"
    crop_margin: Annotated[
        float, Meta(ge=0, le=1, description="crop=lock: margin around the box, as a fraction of the crop")
    ] = MARGIN
    lookahead: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="frames after the key frame to wait for; all that the model reads when left out"),
    ] = None
    people: Annotated[
        int, Meta(ge=1, le=1024, description="crop=lock: people whose features are cached, over all cameras")
    ] = PEOPLE

    def __post_init__(self) -> None:
        self._engine: Engine | None = None
        self._signature: Signature | None = None
        self._work = Work()
        self._is_checked = False
        self._is_drawn = False

    def set_sources(self, sources: Sequence[Source]) -> None:
        self._is_drawn = drawn_by_all(sources)
        self._signature = None

    @property
    def resolved_model(self) -> str:
        """The model that runs: ``model``, or what auto stands for."""
        if self.model != AUTO:
            return self.model
        return DEFAULT_MODEL if self._is_drawn else REAL_PEOPLE_POSE

    def networks(self) -> Iterator[str]:
        yield self.resolved_model

    @property
    def signature(self) -> Signature:
        """The model's inputs and outputs; read without opening the model. Raises :class:`EngineError`."""
        if self._signature is None:
            self._signature = load_signature(self.resolved_model, self.crop)
        return self._signature

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002
        model = find_model(self.resolved_model, "pose")
        model.check()
        check_installed(model.path, self.backend)

    def sink_caps(self) -> Caps:
        return Caps("people/window", past=self.signature.past, future=self._get_lookahead())

    def _get_lookahead(self) -> int:
        """Frames after the key frame to wait for. Raises :class:`PropertyError` if the model reads fewer."""
        most = self.signature.future
        if self.lookahead is not None and self.lookahead > most:
            raise PropertyError(
                f"{label(self)}: lookahead={self.lookahead}, but model {self.signature.name} reads {most} "
                f"frame{'' if most == 1 else 's'} after the key frame; leave lookahead out, or set it to at most {most}"
            )
        return most if self.lookahead is None else self.lookahead

    def src_caps(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        return Caps("people/poses", skeleton=self.signature.skeleton)

    def __enter__(self) -> Self:
        self._engine = load(
            self.resolved_model,
            self.backend,
            self.threads,
            crop=self.crop,
            margin=self.crop_margin,
            people=self.people,
        )
        self._engine.open()
        _log_choice(self._engine)
        self._work = self._engine.work
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def status(self) -> str:
        """The share of frames whose features came from the cache; empty if nothing is cached."""
        work = self._work
        return f"{work.reused:.0%} of frames reused" if work.computed < work.frames else ""

    def process(self, item: Window) -> Iterator[Poses]:
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Window]) -> Iterator[Poses]:
        engine = self._engine
        if engine is None:
            raise EngineError(f"model {self.model!r} is not open; use the element in a 'with'")
        self._warn_of_training(engine, items[0])
        windows = [_repeat_newest(window, engine.signature.frames) for window in items]
        estimates = engine.estimate([_make_request(window) for window in windows])
        for window, keypoints in zip(windows, estimates, strict=True):
            yield self._poses(engine, window, keypoints)

    def _warn_of_training(self, engine: Engine, window: Window) -> None:
        """Say once that the network is shown pictures of a kind that it has not learned from."""
        if not self._is_checked and self.context.incarnation == 0:
            signature, is_drawn = engine.signature, window.key_frame.truth is not None
            if warning := describe_mismatch(signature.name, signature.trained_on, is_drawn=is_drawn):
                _log.warning("%s", warning)
        self._is_checked = True

    def _poses(self, engine: Engine, window: Window, keypoints: Keypoints) -> Poses:
        people = window.people
        return Poses(
            frame=window.key_frame.stamp("inferred", self.context.now_ns()),
            boxes=people.boxes,
            scores=people.scores,
            ids=people.ids,
            keypoints=keypoints,
            skeleton=engine.signature.skeleton,
            model=engine.signature.name,
            fingerprint=engine.fingerprint,
            window=_describe_window(window),
        )


def _log_choice(engine: Engine) -> None:
    """Log the backend; a warning if it leaves a GPU idle."""
    level = logging.WARNING if engine.choice.leaves_gpu_idle else logging.INFO
    _log.log(level, "pose: model %s runs on %s", engine.signature.name, engine.choice)


def _repeat_newest(window: Window, length: int) -> Window:
    """A window of ``length`` frames, the newest of which takes the place of those that were not waited for."""
    missing = length - len(window.frames)
    if missing <= 0:
        return window
    padding: list[FrameState] = ["padded"] * missing
    frames = window.frames + window.frames[-1:] * missing
    return replace(window, frames=frames, states=(*window.states, *padding))


def _make_request(window: Window) -> PersonWindows:
    frames = tuple(frame.pixels for frame in window.frames)
    return PersonWindows(frames, tuple(frame.key for frame in window.frames), window.people.boxes, window.people.ids)


def _describe_window(window: Window) -> tuple[WindowFrame, ...]:
    """Describe each frame of the window for subscribers."""
    return tuple(
        WindowFrame(index - window.index, frame.seq, frame.pts_ns, state)
        for index, (frame, state) in enumerate(zip(window.frames, window.states, strict=True))
    )
