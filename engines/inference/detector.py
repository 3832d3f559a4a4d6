"""A detection network ready to run: frames in, boxes of people out."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub.lookup import find_model
from engines.inference.detector_families import FAMILIES, Family, get_family, recognise_family
from engines.inference.nms import nms
from engines.resource import Resource
from engines.spec.detector_signature import DetectorSignature
from engines.spec.tensors import Array, Description, Tensor
from engines.vision.boxes import clip_boxes
from engines.vision.letterbox import FittedFrame, fit_frame, to_tensor

Floats = NDArray[np.float32]

GREY = 114


class Detector(Resource):
    """A detection network with the preprocessing and decoding of its family."""

    def __init__(self, name: str, backend: Backend, signature: DetectorSignature) -> None:
        self.name = name
        self.signature = signature
        self._backend = backend
        self._family: Family | None = None

    def open(self) -> None:
        """Load the network and determine its family. Raises :class:`EngineError`."""
        self._backend.open()
        self._family = self._find_family(self._backend.describe())

    def close(self) -> None:
        """Release memory and device; does nothing if already closed."""
        self._backend.close()
        self._family = None

    @property
    def family(self) -> Family:
        """The family of the open detector. Raises :class:`EngineError` if it is not open."""
        if self._family is None:
            raise EngineError(f"detector {self.name}: it is not open; call open() first")
        return self._family

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the network's input in px."""
        height, width = self._image.shape[2:]
        return width or self.signature.input_size[0], height or self.signature.input_size[1]

    def detect(self, pixels: NDArray[np.uint8], min_score: float, iou: float = 0.65) -> tuple[Floats, Floats]:
        """Boxes (N, 4) px, inside the frame, and scores (N,) of the people in ``pixels`` (H, W, 3) BGR, best first.

        Of boxes that overlap by more than ``iou`` only the best is returned.
        """
        fitted = self._fit(pixels)
        boxes, scores = self._decode(self._run(fitted), self.family)
        is_confident = scores >= min_score
        boxes, scores = clip_boxes(fitted.to_frame(boxes[is_confident]), pixels), scores[is_confident]
        kept = nms(boxes, scores, iou if self.family.overlapping else 1.0)
        return np.ascontiguousarray(boxes[kept]), np.ascontiguousarray(scores[kept])

    @property
    def _image(self) -> Tensor:
        """The input that takes the frame."""
        return next(tensor for tensor in self._backend.describe().inputs if len(tensor.shape) == 4)

    def _fit(self, pixels: NDArray[np.uint8]) -> FittedFrame:
        fit = self.signature.fit or self.family.fit
        pad = self.family.pad if self.signature.pad is None else self.signature.pad
        return fit_frame(pixels, self.input_size, fit, pad)

    def _run(self, fitted: FittedFrame) -> list[Array]:
        own, family = self.signature, self.family
        planes = to_tensor(fitted.pixels, own.colour or family.colour, own.mean or family.mean, own.std or family.std)
        outputs = self._backend.run({self._image.name: planes[None], **self._make_size_feeds()})
        return [outputs[tensor.name] for tensor in self._backend.describe().outputs]

    def _make_size_feeds(self) -> dict[str, Array]:
        """RT-DETR's exports have an input for the size in which boxes are returned; it gets the input's own size."""
        others = [tensor for tensor in self._backend.describe().inputs if tensor != self._image]
        return {tensor.name: np.array([self.input_size], tensor.dtype) for tensor in others}

    def _decode(self, outputs: list[Array], family: Family) -> tuple[Floats, Floats]:
        boxes, scores = family.decode(outputs, self.input_size)
        person = self.signature.person
        # A file with integer labels has no column for a class that does not occur in this frame.
        return boxes, scores[:, person] if person < scores.shape[1] else np.zeros(len(boxes), np.float32)

    def _find_family(self, description: Description) -> Family:
        _check_inputs(self.name, description)
        if self.signature.family != "auto":
            return get_family(self.signature.family)
        family = recognise_family(self.name, description.outputs, self.input_size)
        return self._probe_yolox() if family.name == "yolox" else family

    def _probe_yolox(self) -> Family:
        """Decoded or not, by running a grey image: the shapes are equal, but centres relative to cells are small."""
        self._family = FAMILIES["yolox"]
        width, height = self.input_size
        grey = np.full((height, width, 3), GREY, np.uint8)
        centres = self._run(self._fit(grey))[0][0, :, :2]
        is_decoded = float(np.percentile(centres, 90)) > min(width, height) / 4
        return FAMILIES["yolox-decoded" if is_decoded else "yolox"]


def _check_inputs(name: str, description: Description) -> None:
    images = [tensor for tensor in description.inputs if len(tensor.shape) == 4 and tensor.shape[1] in (3, None)]
    if len(images) != 1:
        shapes = ", ".join(f"{tensor.name!r} {tensor}" for tensor in description.inputs)
        raise EngineError(f"detector {name}: its inputs are {shapes}, but a detector takes one image (1, 3, H, W)")


def load_detector(model: str, family: str = "auto", backend: str = "auto", threads: int = 1) -> Detector:
    """The detector ``model``, a path or a name of the catalogue; its network is loaded on :meth:`Detector.open`.

    ``family`` overrides that of the signature unless ``auto``. ``backend`` and ``threads`` are as in
    :func:`engines.backends.registry.make_backend`. Raises :class:`EngineError` for an unknown model, family or backend.
    """
    found = find_model(model, "detector")
    signature = found.detector or DetectorSignature(name=found.name)
    if family != "auto":
        signature = msgspec.structs.replace(signature, family=get_family(family).name)
    return Detector(found.name, make_backend(found.find_weights(), backend, threads), signature)
