"""A detector ready to run: frames in, boxes of people out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub import catalogue
from engines.inference.detector_families import FAMILIES, Family, get_family, recognise_family, suppress
from engines.resource import Resource
from engines.spec.detector_signature import DetectorSignature
from engines.spec.tensors import Array, Description, Tensor
from engines.vision.letterbox import FittedFrame, fit_frame, to_tensor

GREY = 114


class Detector(Resource):
    """A detection network with its family's habits. Use it in a ``with``, or call :meth:`open` and :meth:`close`."""

    def __init__(self, name: str, backend: Backend, signature: DetectorSignature) -> None:
        self.name = name
        self.signature = signature
        self._backend = backend
        self._family: Family | None = None

    def open(self) -> None:
        """Load the network and learn its family. Raises :class:`EngineError`."""
        self._backend.open()
        self._family = self._learn_family(self._backend.describe())

    def close(self) -> None:
        """Give back what it holds; idempotent."""
        self._backend.close()
        self._family = None

    @property
    def family(self) -> Family:
        """Known once open."""
        if self._family is None:
            raise EngineError(f"detector {self.name}: it is not open; call open() first")
        return self._family

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the network's input in px."""
        height, width = self._image.shape[2:]
        return width or self.signature.input_size[0], height or self.signature.input_size[1]

    def detect(
        self, pixels: NDArray[np.uint8], min_score: float, iou: float = 0.65
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """People in (H, W, 3) uint8 BGR: boxes (N, 4) px inside the frame and scores (N,), best first.

        ``iou`` is how much two boxes may overlap and still be two people.
        """
        fitted = self._fitted(pixels)
        boxes, scores = self._decoded(self._run(fitted), self.family)
        sure = scores >= min_score
        boxes, scores = _inside(fitted.to_frame(boxes[sure]), pixels), scores[sure]
        kept = suppress(boxes, scores, iou if self.family.overlapping else 1.0)
        return np.ascontiguousarray(boxes[kept]), np.ascontiguousarray(scores[kept])

    @property
    def _image(self) -> Tensor:
        """The input that takes the picture."""
        return next(tensor for tensor in self._backend.describe().inputs if len(tensor.shape) == 4)

    def _fitted(self, pixels: NDArray[np.uint8]) -> FittedFrame:
        fit = self.signature.fit or self.family.fit
        pad = self.family.pad if self.signature.pad is None else self.signature.pad
        return fit_frame(pixels, self.input_size, fit, pad)

    def _run(self, fitted: FittedFrame) -> list[Array]:
        told, habit = self.signature, self.family
        planes = to_tensor(fitted.pixels, told.colour or habit.colour, told.mean or habit.mean, told.std or habit.std)
        outputs = self._backend.run({self._image.name: planes[None], **self._size_input()})
        return [outputs[tensor.name] for tensor in self._backend.describe().outputs]

    def _size_input(self) -> dict[str, Array]:
        """RT-DETR's exports ask for the size in which boxes are wanted: the input's own."""
        others = [tensor for tensor in self._backend.describe().inputs if tensor != self._image]
        return {tensor.name: np.array([self.input_size], tensor.dtype) for tensor in others}

    def _decoded(self, outputs: list[Array], family: Family) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = family.decode(outputs, self.input_size)
        person = self.signature.person
        if not scores.shape[1]:
            return boxes, np.zeros(len(boxes), np.float32)
        # A file whose labels never reached this class in this frame has no column for it: nobody is there.
        return boxes, scores[:, person] if person < scores.shape[1] else np.zeros(len(boxes), np.float32)

    def _learn_family(self, description: Description) -> Family:
        _check_inputs(self.name, description)
        if self.signature.family != "auto":
            return get_family(self.signature.family)
        family = recognise_family(self.name, description.outputs, self.input_size)
        return self._yolox_of_either_kind() if family.name == "yolox" else family

    def _yolox_of_either_kind(self) -> Family:
        """Both kinds have one shape, so a grey picture is shown: centres relative to cells stay within a few units."""
        self._family = FAMILIES["yolox"]
        width, height = self.input_size
        grey = np.full((height, width, 3), GREY, np.uint8)
        centres = self._run(self._fitted(grey))[0][0, :, :2]
        decoded = float(np.percentile(centres, 90)) > min(width, height) / 4
        return FAMILIES["yolox-decoded" if decoded else "yolox"]


def _check_inputs(name: str, description: Description) -> None:
    images = [tensor for tensor in description.inputs if len(tensor.shape) == 4 and tensor.shape[1] in (3, None)]
    if len(images) != 1:
        shapes = ", ".join(f"{tensor.name!r} {tensor}" for tensor in description.inputs)
        raise EngineError(f"detector {name}: its inputs are {shapes}, but a detector takes one picture (1, 3, H, W)")


def _inside(boxes: NDArray[np.float32], pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def load_detector(model: str, family: str = "auto", backend: str = "auto", threads: int = 1) -> Detector:
    """The detector called ``model``: a path, or a name of the catalogue; not yet open. Raises :class:`EngineError`."""
    found = catalogue.find(model, "detector")
    signature = found.detector or DetectorSignature(name=found.name)
    if family != "auto":
        get_family(family)
        signature = _told(signature, family)
    return Detector(found.name, make_backend(found.weights(), backend, threads), signature)


def _told(signature: DetectorSignature, family: str) -> DetectorSignature:
    values = {name: getattr(signature, name) for name in signature.__struct_fields__}
    return DetectorSignature(**{**values, "family": family})
