"""``pose``: everybody's keypoints, from windows of frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, ParamSpec, Self, TypeVar

from msgspec import Meta

from engines.errors import EngineError
from engines.inference.engine import MARGIN, PEOPLE, Crop, Engine, Keypoints, PersonWindows, Work, load, load_signature
from engines.spec.signature import Signature
from stream.caps import Caps
from stream.element import Transform
from stream.errors import ModelError
from stream.messages import Poses, Window, WindowFrame

_log = logging.getLogger(__name__)

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")


@dataclass
class Pose(Transform):
    """Runs a top-down pose network on the people of each window: crops, network, decoding, back to the frame.

    How many frames a window has is the model's affair: its Signature fixes ``past`` and ``future`` when the line is
    linked. All people of all windows that wait, whatever camera they are from, share one batch. A frame without
    people gives Poses without people, so that whoever listens knows that nobody was there.

    A temporal network that was exported in two (see docs/reference/models.md) computes each frame of a person once,
    and keeps its features, for as long as the person's crop is held still: crop=lock, which auto takes wherever it can.
    crop=exact is the papers' way: each key frame crops its whole window anew, and computes it anew. Only people with
    ids gain by it, so track comes before.
    """

    sink = Caps("people/window")
    src = Caps("people/poses")

    model: Annotated[
        str,
        Meta(
            description="'fami-small' or 'hrnet-small', which ship, the folder of an export, an .onnx with its "
            "Signature, or a name of the catalogue"
        ),
    ] = "fami-small"
    backend: Annotated[str, Meta(description="who runs the network: NAME or NAME:MODE, as onnxrt:cuda")] = "auto"
    threads: Annotated[int, Meta(ge=1, description="processor threads of the network")] = 1
    max_batch: Annotated[int, Meta(ge=1, le=256, description="windows that may share a run when several wait")] = 8
    crop: Annotated[
        Crop,
        Meta(description="hold a person's crop (lock), make one for every key frame (exact), or lock where it can"),
    ] = "auto"
    crop_margin: Annotated[
        float, Meta(ge=0, le=1, description="crop=lock: by this part of itself a crop is wider than the box asks for")
    ] = MARGIN
    people: Annotated[
        int, Meta(ge=1, le=1024, description="crop=lock: features are kept of so many people, of all cameras together")
    ] = PEOPLE

    def __post_init__(self) -> None:
        self._engine: Engine | None = None
        self._known: Signature | None = None
        self._work = Work()

    @property
    def signature(self) -> Signature:
        """What the model eats and returns; read without opening it. Raises :class:`ModelError`."""
        if self._known is None:
            self._known = _model_error(load_signature, self.model, self.crop)
        return self._known

    def accepts(self) -> Caps:
        return Caps("people/window", past=self.signature.past, future=self.signature.future)

    def offers(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        return Caps("people/poses", skeleton=self.signature.skeleton)

    def __enter__(self) -> Self:
        self._engine = _model_error(
            load,
            self.model,
            self.backend,
            self.threads,
            crop=self.crop,
            margin=self.crop_margin,
            people=self.people,
        )
        _model_error(self._engine.open)
        _tell(self._engine)
        self._work = self._engine.work
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def account(self) -> str:
        """What kept features have spared so far; nothing where none are kept."""
        work = self._work
        return f"{work.reused:.0%} of frames reused" if work.computed < work.frames else ""

    def process(self, item: Window) -> Iterator[Poses]:
        yield from self.process_many([item])

    def process_many(self, items: Sequence[Window]) -> Iterator[Poses]:
        engine = self._engine
        if engine is None:
            raise ModelError(f"pose: model {self.model!r} is not open; use the element in a 'with'")
        found = _model_error(engine.estimate, [_request(window) for window in items])
        for window, keypoints in zip(items, found, strict=True):
            yield self._poses(engine, window, keypoints)

    def _poses(self, engine: Engine, window: Window, keypoints: Keypoints) -> Poses:
        people = window.people
        return Poses(
            frame=window.key_frame.stamped("inferred", self.context.now_ns()),
            boxes=people.boxes,
            scores=people.scores,
            ids=people.ids,
            keypoints=keypoints,
            skeleton=engine.signature.skeleton,
            model=engine.signature.name,
            fingerprint=engine.fingerprint,
            window=_account_of(window),
        )


def _tell(engine: Engine) -> None:
    """Who runs the network; a warning where that leaves a GPU without work."""
    level = logging.WARNING if engine.choice.leaves_gpu_idle else logging.INFO
    _log.log(level, "pose: model %s runs by %s", engine.signature.name, engine.choice)


def _request(window: Window) -> PersonWindows:
    frames = tuple(frame.pixels for frame in window.frames)
    return PersonWindows(frames, tuple(frame.key for frame in window.frames), window.people.boxes, window.people.ids)


def _account_of(window: Window) -> tuple[WindowFrame, ...]:
    """What a subscriber is told of each frame of the window."""
    return tuple(
        WindowFrame(place - window.index, frame.seq, frame.pts_ns, state)
        for place, (frame, state) in enumerate(zip(window.frames, window.states, strict=True))
    )


def _model_error(call: Callable[_Given, _Got], *given: _Given.args, **named: _Given.kwargs) -> _Got:
    """``call(*given)``, with what goes wrong in ``engines`` said as ``stream`` says it."""
    try:
        return call(*given, **named)
    except EngineError as error:
        raise ModelError(f"pose: {error}") from error
