"""An engine: a pose network ready to run. People in windows of frames in, keypoints in frame coordinates out.

Everything between is here and in the modules it names: crop by one affine for all frames of a window (``geometry``),
normalise and run (``backends``), decode (``heatmaps``, ``simcc``), and back to the frame (``geometry``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines import catalogue, geometry
from engines.backends.base import Array, Backend, make_backend
from engines.decoding import decode
from engines.errors import EngineError
from engines.fitting import check_fit, infer_signature
from engines.letterbox import to_tensor
from engines.signature import Signature

Key = tuple[str, int]
"""``(camera, seq)``: names one frame."""

Keypoints = NDArray[np.float32]

MAX_BATCH = 16
"""People in one run of a network of any batch; measured on a CPU, more brings no speed and takes memory."""


@dataclass(frozen=True)
class PersonWindows:
    """One window and its people.

    ``frames``: T = past + 1 + future of (H, W, 3) uint8 BGR, oldest first; ``keys`` name them, one each, and ``ids``
    (N,) name the people, so that an engine may recognise what it has computed before. ``boxes`` (N, 4) px are the key
    frame's, and crop every frame of the window.
    """

    frames: tuple[NDArray[np.uint8], ...]
    keys: tuple[Key, ...]
    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]


@dataclass(frozen=True)
class _Person:
    """One row of a batch: its window and which of the window's people it is."""

    window: PersonWindows
    place: int

    @property
    def box(self) -> NDArray[np.float32]:
        box: NDArray[np.float32] = self.window.boxes[self.place]
        return box


class Engine:
    """A pose network, its Signature and the backend that runs it.

    Opened by ``with``, by :meth:`open`, or by its first estimate. ``fingerprint`` identifies the file.
    """

    def __init__(
        self, signature: Signature, backend: Backend, fingerprint: str = "", max_batch: int = MAX_BATCH
    ) -> None:
        self.signature = signature
        self.fingerprint = fingerprint
        self.max_batch = max_batch
        self._backend = backend
        self._open = False

    def open(self) -> None:
        """Load the network. Raises :class:`EngineError` where it does not fit its Signature. Idempotent."""
        if not self._open:
            self._backend.open()
            check_fit(self.signature, self._backend.describe())
            self._open = True

    def close(self) -> None:
        """Give back memory and device; idempotent."""
        self._backend.close()
        self._open = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def estimate(self, requests: Sequence[PersonWindows]) -> list[Keypoints]:
        """Keypoints (N, K, 3) float32 for each window: x px, y px in its key frame, score in 0..1.

        People of all windows share batches, in order. Raises :class:`EngineError`.
        """
        for window in requests:
            self._check_window(window)
        self.open()
        people = [_Person(window, place) for window in requests for place in range(len(window.boxes))]
        rows = iter([row for batch in self._batches(people) for row in self._run(batch)])
        return [self._stacked(list(islice(rows, len(window.boxes)))) for window in requests]

    def _check_window(self, window: PersonWindows) -> None:
        wanted = self.signature.frames
        if len(window.frames) != wanted or len(window.keys) != wanted:
            raise EngineError(
                f"model {self.signature.name}: its window is {wanted} frames (past {self.signature.past}, "
                f"future {self.signature.future}), but it was given {len(window.frames)} frames and "
                f"{len(window.keys)} keys"
            )

    def _batches(self, people: list[_Person]) -> Iterator[list[_Person]]:
        size = self._backend.describe().batch or self.max_batch
        for start in range(0, len(people), size):
            yield people[start : start + size]

    def _run(self, people: list[_Person]) -> Keypoints:
        """(n, K, 3) of one batch."""
        inputs = self._padded(np.stack([self._input(person) for person in people]))
        outputs = self._backend.run({self._input_name: inputs})
        points, scores = decode(self.signature, [outputs[name] for name in self._output_names])
        placed = [geometry.to_frame(points[row], self._way_back(person)) for row, person in enumerate(people)]
        sure = np.clip(scores[: len(people)], 0, 1)
        return np.concatenate([np.array(placed), sure[..., None]], axis=2, dtype=np.float32)

    def _padded(self, inputs: Array) -> Array:
        """A network of fixed batch gets rows of zeros for the people it lacks."""
        missing = (self._backend.describe().batch or len(inputs)) - len(inputs)
        return np.pad(inputs, [(0, missing)] + [(0, 0)] * (inputs.ndim - 1)) if missing else inputs

    def _input(self, person: _Person) -> Array:
        """One person's input as the Signature has it: every frame through the affine of the key frame's box."""
        rule = self.signature.affine
        affine = geometry.affine_of_box(
            person.box, self.signature.input_size, enlarge=self.signature.enlarge, rule=rule
        )
        planes = [self._planes(person.window.frames[place], affine) for place in self.signature.feeding_order]
        return np.stack(planes).reshape(self.signature.input_shape)

    def _planes(self, pixels: NDArray[np.uint8], affine: geometry.Affine) -> Array:
        cut = geometry.crop(pixels, affine, self.signature.input_size)
        if self.signature.pixel == "uint8":
            return cut
        return to_tensor(cut, self.signature.colour, self.signature.mean, self.signature.std)

    def _way_back(self, person: _Person) -> geometry.Affine:
        """Always by the standard rule, also where crops are made by another: so it was published."""
        return geometry.affine_of_box(person.box, self.signature.input_size, enlarge=self.signature.enlarge)

    def _stacked(self, rows: list[Keypoints]) -> Keypoints:
        joints = len(self.signature.joints)
        return np.stack(rows) if rows else np.zeros((0, joints, 3), np.float32)

    @property
    def _input_name(self) -> str:
        return (self.signature.inputs or (self._backend.describe().inputs[0].name,))[0]

    @property
    def _output_names(self) -> tuple[str, ...]:
        own = tuple(tensor.name for tensor in self._backend.describe().outputs)
        return self.signature.outputs or own


def load(model: str = catalogue.EMBEDDED, backend: str = "auto", threads: int = 1) -> Engine:
    """The engine called ``model``: ``tiny``, a path or a name of the catalogue; its network is not loaded yet.

    Raises :class:`EngineError` when there is no such model, or no Signature and none can be inferred.
    """
    found = catalogue.find(model, "pose")
    signature = signature_of(model)
    path = found.weights()
    mark = catalogue.fingerprint(path)
    if signature.fingerprint not in ("", mark):
        raise EngineError(
            f"model {path}: its Signature was made for the file {signature.fingerprint}, but this one is {mark}; "
            "get the pair again, or empty 'fingerprint' in the Signature"
        )
    return Engine(signature, make_backend(path, backend, threads), mark)


def signature_of(model: str = catalogue.EMBEDDED) -> Signature:
    """The Signature of ``model``, without opening the network where it has one written down."""
    found = catalogue.find(model, "pose")
    return found.signature or infer_signature(found.name, found.weights())
