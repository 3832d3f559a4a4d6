"""A detection network ready to run: frames in, boxes of people out."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.cores import Threads
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub.lookup import find_model
from engines.inference.detector_families import Family, Outputs, Preprocessing, get_family
from engines.inference.detector_trial import Network, recognise
from engines.inference.image_input import ImageInput, format_tensors, get_image_input
from engines.inference.nms import soft_nms
from engines.inference.side_by_side import SideBySide
from engines.resource import Resource
from engines.spec.detector_signature import DetectorSignature
from engines.spec.tensors import Array, Description
from engines.vision.boxes import find_people
from engines.vision.letterbox import fit_frame
from engines.vision.trial_picture import draw_person

Floats = NDArray[np.float32]
Found = tuple[Floats, Floats]
"""Boxes (N, 4) px and scores (N,)."""

USUAL_SIZE = (640, 640)
"""(width, height) px of a network that takes any size."""


OTHER_SIDES = (416, 320, 512, 384, 256, 224, 192, 1280)
"""Sides px of inputs that are tried if that fails."""


class Detector(Resource):
    """A detection network with the preprocessing and decoding of its family."""

    def __init__(self, name: str, backend: Backend, signature: DetectorSignature) -> None:
        self.name = name
        self.signature = signature
        self._backend = backend
        self._threads = SideBySide()
        self._image: ImageInput | None = None
        self._resolved: DetectorSignature | None = None

    def open(self) -> None:
        """Load the network and determine how its outputs are read. Raises :class:`EngineError`."""
        self._backend.open()
        self._image = get_image_input(f"detector {self.name}", self._backend.describe())
        self._resolved = self._resolve()
        self._threads.open(self._backend.describe().side_by_side)

    def close(self) -> None:
        """Release memory and device; does nothing if already closed."""
        self._threads.close()
        self._backend.close()
        self._image = self._resolved = None

    @property
    def resolved(self) -> DetectorSignature:
        """The signature with every field filled. Raises :class:`EngineError` if the detector is not open."""
        if self._resolved is None:
            raise EngineError(f"detector {self.name}: it is not open; call open() first")
        return self._resolved

    @property
    def family(self) -> Family:
        """The family of the open detector. Raises :class:`EngineError` if it is not open."""
        return get_family(self.resolved.family)

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the network's input in px."""
        width, height = self._get_image().size
        usual = self.signature.input_size or read_size(self._backend.describe()) or USUAL_SIZE
        return width or usual[0], height or usual[1]

    def detect_each(self, frames: Sequence[NDArray[np.uint8]], min_score: float, iou: float = 0.65) -> list[Found]:
        """As :meth:`detect` for each of ``frames``, several at once where the backend allows it."""
        return self._threads.map(lambda pixels: self.detect(pixels, min_score, iou), frames)

    def detect(self, pixels: NDArray[np.uint8], min_score: float, iou: float = 0.65) -> Found:
        """Boxes (N, 4) px, inside the frame, and scores (N,) of the people in ``pixels`` (H, W, 3) BGR, best first.

        A box that overlaps a better one by at least ``iou`` loses that share of its score (linear soft-NMS), and is
        left out if it then scores below ``min_score``.
        """
        preprocessing = _get_preprocessing(self.resolved)
        fitted = fit_frame(pixels, self.input_size, preprocessing.fit, preprocessing.pad)
        boxes, scores = self._decode(self._run(fitted.pixels, preprocessing))
        _, boxes, scores = find_people(fitted.to_frame(boxes), scores, pixels, min_score)
        if self.resolved.suppress:
            kept, scores = soft_nms(boxes, scores, iou, min_score)
        else:
            kept = np.argsort(-scores, kind="stable")
            scores = scores[kept]
        return np.ascontiguousarray(boxes[kept]), np.ascontiguousarray(scores)

    def _get_image(self) -> ImageInput:
        if self._image is None:
            raise EngineError(f"detector {self.name}: it is not open; call open() first")
        return self._image

    def _run(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Outputs:
        """All outputs, of the first picture of a fixed batch, which is filled with the same one."""
        image = self._get_image()
        batch = image.tensor.shape[0] or 1
        fed = image.make([pixels] * batch, preprocessing.colour, preprocessing.mean, preprocessing.std)
        outputs = self._backend.run({image.tensor.name: fed, **self._make_size_feeds(batch)})
        names = [tensor.name for tensor in self._backend.describe().outputs]
        return {name: outputs[name][:1] if batch > 1 else outputs[name] for name in names}

    def _make_size_feeds(self, batch: int) -> dict[str, Array]:
        """RT-DETR's exports have an input for the size in which boxes are returned; it gets the input's own size."""
        others = [tensor for tensor in self._backend.describe().inputs if tensor != self._get_image().tensor]
        return {tensor.name: np.array([self.input_size] * batch, tensor.dtype) for tensor in others}

    def _decode(self, outputs: Outputs) -> tuple[Floats, Floats]:
        boxes, scores = self.family.read(outputs, self.input_size, self.resolved)
        person = self.resolved.person or 0
        # A file with integer labels has no column for a class that does not occur in this frame.
        return boxes, scores[:, person] if person < scores.shape[1] else np.zeros(len(boxes), np.float32)

    def _resolve(self) -> DetectorSignature:
        """The signature with every field filled, by a run of the trial picture."""
        description = self._backend.describe()
        image, size = self._get_image(), self.input_size
        network = Network(
            name=self.name,
            size=size,
            outputs=format_tensors(description.outputs),
            classes=read_classes(description),
            run=lambda preprocessing, units: self._run_trial(draw_person(size, units)[0], preprocessing),
            is_integer=image.is_integer,
            takes_any_size=None in image.size and self.signature.input_size is None,
        )
        return recognise(network, self.signature)

    def _run_trial(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Outputs:
        try:
            return self._run(pixels, preprocessing)
        except EngineError as error:
            if None not in self._get_image().size or self.signature.input_size is not None:
                raise
            width, height = self.input_size
            side = next(filter(self._runs_at, OTHER_SIDES), width)
            raise EngineError(
                f"detector {self.name}: its input {self._get_image().tensor} takes any size, but it fails for "
                f'{width}x{height}; write into {self.name}.json beside it {{"input_size":[{side},{side}]}}, '
                "or what it was made for"
            ) from error

    def _runs_at(self, side: int) -> bool:
        """Whether the network runs for a square input of this side, px."""
        image = self._get_image()
        fed = image.make([np.zeros((side, side, 3), np.uint8)], "rgb", (0, 0, 0), (1, 1, 1))
        try:
            self._backend.run({image.tensor.name: fed, **self._make_size_feeds(1)})
        except EngineError:
            return False
        return True


def _get_preprocessing(resolved: DetectorSignature) -> Preprocessing:
    usual = get_family(resolved.family).preprocessing[0]
    return Preprocessing(
        resolved.fit or usual.fit,
        usual.pad if resolved.pad is None else resolved.pad,
        resolved.colour or usual.colour,
        resolved.mean or usual.mean,
        resolved.std or usual.std,
    )


def read_classes(description: Description) -> tuple[str, ...]:
    """The names of classes that Ultralytics' exports carry; empty if there are none."""
    found = _read_metadata(description, "names")
    return tuple(str(found[key]) for key in sorted(found)) if isinstance(found, dict) else ()


def read_size(description: Description) -> tuple[int, int] | None:
    """(width, height) px that Ultralytics' exports were made for; None if the file does not say."""
    found = _read_metadata(description, "imgsz")
    if not isinstance(found, list) or len(found) != 2 or not all(isinstance(side, int) and side > 0 for side in found):
        return None
    return found[1], found[0]


def _read_metadata(description: Description, key: str) -> object:
    """An entry, written as a Python literal; None if it is missing or something else."""
    try:
        return ast.literal_eval(description.metadata[key])
    except (KeyError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def load_detector(model: str, family: str = "auto", backend: str = "auto", threads: Threads = "auto") -> Detector:
    """The detector ``model``, a path or a name of the catalogue; its network is loaded on :meth:`Detector.open`.

    ``family`` overrides that of the signature unless ``auto``. ``backend`` and ``threads`` are as in
    :func:`engines.backends.registry.make_backend`. Raises :class:`EngineError` for an unknown model, family or backend.
    """
    found = find_model(model, "detector")
    signature = found.detector or DetectorSignature(name=found.name)
    if family != "auto":
        signature = msgspec.structs.replace(signature, family=get_family(family).name)
    return Detector(found.name, make_backend(found.find_weights(), backend, threads), signature)
