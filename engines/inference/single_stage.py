"""The engine of a single-stage network: frames in, all people and their keypoints out, in one run of one network.

frame -> letterbox -> network -> candidates -> back to the frame -> non-maximum suppression -> people
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.cores import Threads
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.lookup import Model, find_model
from engines.inference.batching import pad_batch, plan_batches
from engines.inference.nms import suppress
from engines.inference.side_by_side import SideBySide
from engines.inference.single_stage_files import PictureAdapter, resolve
from engines.resource import Resource
from engines.spec.manifest import PictureManifest, is_export, read_any_manifest, read_picture_manifest, verify_files
from engines.spec.model_files import fingerprint_model, is_model_file
from engines.spec.picture_signature import INPUT, OUTPUTS, PictureSignature, describe_graph
from engines.spec.tensors import Array, Description
from engines.vision.boxes import find_people
from engines.vision.crop import HALF_PIXEL
from engines.vision.letterbox import FittedFrame, fit_frame

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


class DetectedPeople(NamedTuple):
    """The people of one frame, best first.

    ``boxes`` (n, 4) px, ``scores`` (n,) in 0..1 and ``keypoints`` (n, K, 3): x px, y px and score.
    """

    boxes: Floats
    scores: Floats
    keypoints: Floats


class PictureEngine(Resource):
    """A single-stage network, its signature and the backend that runs it.

    ``max_batch`` frames share a run if the network takes any batch. ``fingerprint`` identifies the export. With several
    ``scales``, a frame is run once in each share of the input's size, and the candidates of all are suppressed
    together. Use it in a ``with`` block, or call :meth:`open` and :meth:`close`; the first :meth:`estimate` opens it
    too. Raises :class:`EngineError` for a scale that is not in 0..1.
    """

    def __init__(
        self,
        signature: PictureSignature,
        backend: Backend,
        fingerprint: str = "",
        max_batch: int = 1,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        wrong = [scale for scale in scales if not 0 < scale <= 1]
        if wrong or not scales:
            raise EngineError(
                f"model {signature.name}: scales are shares of its input's {signature.input_size[0]}x"
                f"{signature.input_size[1]} px, above 0 and up to 1, not {wrong[0] if wrong else 'none'}; for larger "
                "pictures export it with a larger --size"
            )
        self.signature = signature
        self.fingerprint = fingerprint
        self.max_batch = max_batch
        self.scales = tuple(scales)
        self._backend = backend
        self._threads = SideBySide()
        self._is_open = False

    def open(self) -> None:
        """Load the network; does nothing if already open.

        Raises :class:`EngineError` if it does not fit its signature.
        """
        if not self._is_open:
            self._backend.open()
            _check_signature(self.signature, self._backend.describe())
            self._threads.open(self._backend.describe().side_by_side)
            self._is_open = True

    def close(self) -> None:
        """Release memory and device; does nothing if already closed."""
        self._threads.close()
        self._backend.close()
        self._is_open = False

    def estimate(self, frames: Sequence[NDArray[np.uint8]]) -> list[DetectedPeople]:
        """The people of each frame (H, W, 3) uint8 BGR; sizes may differ. Raises :class:`EngineError`."""
        self.open()
        batches = plan_batches(len(frames), self._backend.describe(), self.max_batch)
        found = self._threads.map(lambda batch: self._run(frames[batch]), batches)
        return list(chain.from_iterable(found))

    @property
    def device(self) -> str:
        """What runs the network, once it is open."""
        return self._backend.describe().device

    def _run(self, frames: Sequence[NDArray[np.uint8]]) -> list[DetectedPeople]:
        by_scale = [self._find_candidates(frames, scale) for scale in self.scales]
        return [
            self._suppress(DetectedPeople(*(np.concatenate(parts) for parts in zip(*candidates, strict=True))))
            for candidates in zip(*by_scale, strict=True)
        ]

    def _find_candidates(self, frames: Sequence[NDArray[np.uint8]], scale: float) -> list[DetectedPeople]:
        """The confident candidates of each frame, in its px, from the network's run at one scale."""
        own = self.signature
        fitted = [_fit(pixels, own, scale) for pixels in frames]
        pictures = pad_batch(np.stack([frame.pixels for frame in fitted]), self._backend.describe())
        outputs = self._backend.run({INPUT: pictures})
        rows = zip(frames, fitted, *(outputs[name] for name in OUTPUTS), strict=False)  # stops before the padding
        return [self._to_candidates(*row) for row in rows]

    def _to_candidates(
        self, pixels: NDArray[np.uint8], fitted: FittedFrame, points: Array, scores: Array, boxes: Array
    ) -> DetectedPeople:
        min_score = self.signature.suppression.min_score
        found, frame_boxes, sure = find_people(fitted.to_frame(boxes), scores, pixels, min_score)
        return DetectedPeople(frame_boxes, sure, _to_frame(points[found], fitted))

    def _suppress(self, candidates: DetectedPeople) -> DetectedPeople:
        """The candidates of one frame that are left after suppression."""
        own = self.signature
        kept, scores = suppress(candidates.boxes, candidates.scores, own.suppression)
        kept, scores = kept[: own.max_people], scores[: own.max_people]
        return DetectedPeople(candidates.boxes[kept], scores, candidates.keypoints[kept])


def _fit(pixels: NDArray[np.uint8], signature: PictureSignature, scale: float) -> FittedFrame:
    """A frame in the network's input, at ``scale`` of the size that fits."""
    if scale == 1:
        return fit_frame(pixels, signature.input_size, signature.fit, signature.pad)
    width, height = (max(1, round(side * scale)) for side in signature.input_size)
    fitted = fit_frame(pixels, (width, height), signature.fit, signature.pad)
    canvas = np.full(signature.input_shape, signature.pad, np.uint8)
    canvas[:height, :width] = fitted.pixels
    return replace(fitted, pixels=canvas)


def _to_frame(points: Floats, fitted: FittedFrame) -> Floats:
    """Keypoints (n, K, 3) of the input in continuous coordinates of the frame.

    Networks are trained on annotations in index coordinates, multiplied by the factor of the resize. So they are
    divided by it first, and half a pixel is added afterwards.
    """
    scale, offset = np.array(fitted.scale), np.array(fitted.offset)
    frame_points = (points[..., :2] - offset) / scale + HALF_PIXEL
    return np.concatenate([frame_points, points[..., 2:]], axis=2, dtype=np.float32)


def _check_signature(signature: PictureSignature, description: Description) -> None:
    """Raise :class:`EngineError`, naming both sides, unless inputs and outputs agree with the signature."""
    actual = {tensor.name: tensor for tensor in (*description.inputs, *description.outputs)}
    expected = describe_graph(signature, description.device)
    for tensor in (*expected.inputs, *expected.outputs):
        found = actual.get(tensor.name)
        if found is None or found.shape[1:] != tensor.shape[1:] or found.dtype != tensor.dtype:
            raise EngineError(
                f"model {signature.name}: its {tensor.name!r} is {found or 'missing'}, but its signature says "
                f"{tensor}; export the network again"
            )


def find_picture_manifest(model: str) -> PictureManifest:
    """The manifest of the export in folder ``model``.

    Raises :class:`EngineError`, naming what to use instead, unless it is an exported single-stage network.
    """
    folder = Path(model).expanduser()
    if is_export(folder):
        return read_picture_manifest(folder)
    raise EngineError(
        f"model {model!r}: this is neither an .onnx (YOLO-pose, RTMO) nor the folder of an exported network of "
        "whole pictures; make one with 'posestream export NETWORK', where NETWORK is "
        f"{' or '.join(list_picture_networks())}"
    )


def load_picture_signature(model: str) -> PictureSignature:
    """The signature of ``model``; the network is opened only if it is an ``.onnx`` of others.

    Raises :class:`EngineError` as :func:`load_picture_engine` does.
    """
    if is_model_file(model):
        return resolve(_get_file(model)).signature.to_picture_signature()
    if entry := _find_in_catalogue(model):  # complete, so that it is known before the weights are here
        assert entry.single_stage is not None
        return entry.single_stage.to_picture_signature()
    return find_picture_manifest(model).signature


def _find_in_catalogue(model: str) -> Model | None:
    """The entry called ``model`` if it is a single-stage network. Raises :class:`EngineError` if it is another kind."""
    folder = Path(model).expanduser()
    if is_export(folder) or not catalogue.is_entry(model) or catalogue.find_entry(model)[1].kind == "network":
        return None
    return find_model(model, "single-stage")


def _get_file(model: str) -> Path:
    path = Path(model).expanduser()
    if not path.is_file():
        raise EngineError(f"model {model!r}: there is no such file")
    return path


def takes_pictures(model: str) -> bool:
    """Whether ``model`` is the folder of an exported single-stage network, or one of the catalogue."""
    folder = Path(model).expanduser()
    if is_export(folder):
        return isinstance(read_any_manifest(folder), PictureManifest)
    return catalogue.is_entry(model) and catalogue.find_entry(model)[1].kind == "single-stage"


def list_picture_networks() -> list[str]:
    """The names of the single-stage networks in the catalogue."""
    networks = catalogue.list_names("network")
    return [name for name in networks if catalogue.find_network(name)[1].takes == "picture"]


def load_picture_engine(
    model: str, backend: str = "auto", threads: Threads = "auto", max_batch: int = 1, scales: Sequence[float] = (1.0,)
) -> PictureEngine:
    """The engine of ``model``, the folder of an export or an ``.onnx``; loaded on :meth:`PictureEngine.open`.

    ``backend`` and ``threads`` are as in :func:`engines.backends.registry.make_backend`, ``scales`` as in
    :class:`PictureEngine`. Raises :class:`EngineError` as :func:`find_picture_manifest` and
    :func:`engines.inference.single_stage_files.resolve` do, and if a file is not the one that was exported.
    """
    listed = None if is_model_file(model) else _find_in_catalogue(model)
    if listed is not None or is_model_file(model):
        path = listed.find_weights() if listed else _get_file(model)
        resolved, warning = resolve(path, listed.single_stage if listed else None)
        if warning:
            _log.warning("%s", warning)
        adapter = PictureAdapter(make_backend(path, backend, threads), resolved)
        return PictureEngine(resolved.to_picture_signature(), adapter, fingerprint_model(path), max_batch, scales)
    manifest, folder = find_picture_manifest(model), Path(model).expanduser()
    verify_files(manifest, folder)
    graph = make_backend(folder / manifest.graphs["fused"], backend, threads)
    return PictureEngine(manifest.signature, graph, manifest.fingerprint, max_batch, scales)
