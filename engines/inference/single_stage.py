"""An engine of whole pictures: frames in, everybody and their keypoints out, in one run of one network.

frame ─ letterbox ─ network ─ candidates ─ back to the frame ─ suppression of doubles ─ people
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub import catalogue
from engines.inference.batching import get_batch_size, pad_batch, split_batches
from engines.inference.nms import survivors
from engines.resource import Resource
from engines.spec.manifest import PictureManifest, is_export, read_picture_manifest, verify
from engines.spec.picture_signature import INPUT, OUTPUTS, PictureSignature, describe
from engines.spec.tensors import Array, Description
from engines.vision.crop import HALF_PIXEL
from engines.vision.letterbox import FittedFrame, fit_frame

Floats = NDArray[np.float32]


class Found(NamedTuple):
    """The people of one frame, best first: ``boxes`` (n, 4) px, ``scores`` (n,) and ``keypoints`` (n, K, 3): x px,
    y px and score."""

    boxes: Floats
    scores: Floats
    keypoints: Floats


class PictureEngine(Resource):
    """A network of whole pictures, its signature and the backend that runs it.

    Resource by ``with``, by :meth:`open`, or by its first estimate. ``fingerprint`` identifies the export.
    ``max_batch`` frames share a run of a network of any batch.
    """

    def __init__(
        self, signature: PictureSignature, backend: Backend, fingerprint: str = "", max_batch: int = 1
    ) -> None:
        self.signature = signature
        self.fingerprint = fingerprint
        self.max_batch = max_batch
        self._backend = backend
        self._open = False

    def open(self) -> None:
        """Load the network. Raises :class:`EngineError` where it does not fit its signature. Idempotent."""
        if not self._open:
            self._backend.open()
            _check_fit(self.signature, self._backend.describe())
            self._open = True

    def close(self) -> None:
        """Give back memory and device; idempotent."""
        self._backend.close()
        self._open = False

    def estimate(self, frames: Sequence[NDArray[np.uint8]]) -> list[Found]:
        """The people of each frame (H, W, 3) uint8 BGR, of whatever sizes. Raises :class:`EngineError`."""
        self.open()
        size = get_batch_size(self._backend.describe(), self.max_batch)
        return [found for run in split_batches(len(frames), size) for found in self._run(frames[run])]

    def _run(self, frames: Sequence[NDArray[np.uint8]]) -> list[Found]:
        told = self.signature
        fitted = [fit_frame(pixels, told.input_size, told.fit, told.pad) for pixels in frames]
        pictures = pad_batch(np.stack([one.pixels for one in fitted]), self._backend.describe())
        outputs = self._backend.run({INPUT: pictures})
        rows = zip(frames, fitted, *(outputs[name] for name in OUTPUTS), strict=False)  # without what fills the batch
        return [self._people(*row) for row in rows]

    def _people(
        self, pixels: NDArray[np.uint8], fitted: FittedFrame, points: Array, scores: Array, boxes: Array
    ) -> Found:
        """Who is left of one frame's candidates."""
        told = self.signature
        sure = scores > told.suppression.min_score
        places = _inside(fitted.to_frame(boxes[sure]), pixels)
        kept, left = survivors(places, scores[sure], told.suppression)
        kept, left = kept[: told.max_people], left[: told.max_people]
        return Found(places[kept], left, _in_frame(points[sure][kept], fitted))


def _inside(boxes: Floats, pixels: NDArray[np.uint8]) -> Floats:
    height, width = pixels.shape[:2]
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _in_frame(points: Floats, fitted: FittedFrame) -> Floats:
    """Keypoints (n, K, 3) of the input in the project's coordinates of the frame.

    Networks are trained on annotations in index coordinates that were multiplied by what their picture was resized by;
    so they come back by division, and only then is half a pixel added.
    """
    scale, offset = np.array(fitted.scale), np.array(fitted.offset)
    placed = (points[..., :2] - offset) / scale + HALF_PIXEL
    return np.concatenate([placed, points[..., 2:]], axis=2, dtype=np.float32)


def _check_fit(signature: PictureSignature, description: Description) -> None:
    """Raise :class:`EngineError`, naming what the file has and what the signature says, unless they agree."""
    own = {tensor.name: tensor for tensor in (*description.inputs, *description.outputs)}
    wanted = describe(signature, description.device)
    for tensor in (*wanted.inputs, *wanted.outputs):
        has = own.get(tensor.name)
        if has is None or has.shape[1:] != tensor.shape[1:] or has.dtype != tensor.dtype:
            raise EngineError(
                f"model {signature.name}: its {tensor.name!r} is {has or 'missing'}, but its signature says {tensor}; "
                "export the network again"
            )


def find_picture_manifest(model: str) -> PictureManifest:
    """The manifest of the export at ``model``. Raises :class:`EngineError`, saying what to use, for all else."""
    folder = Path(model).expanduser()
    if is_export(folder):
        return read_picture_manifest(folder)
    raise EngineError(
        f"model {model!r}: this is not the folder of an exported network of whole pictures; make one with "
        f"'posestream export NETWORK', where NETWORK is {' or '.join(list_picture_networks())}"
    )


def list_picture_networks() -> list[str]:
    """The networks of the catalogue that take whole pictures."""
    return [name for name in catalogue.names("network") if catalogue.network(name)[1].takes == "picture"]


def load_picture_engine(model: str, backend: str = "auto", threads: int = 1, max_batch: int = 1) -> PictureEngine:
    """The engine of the export at ``model``; its network is not loaded yet.

    Raises :class:`EngineError` where there is none, it takes crops, or a file of it is not the one that was exported.
    """
    manifest, folder = find_picture_manifest(model), Path(model).expanduser()
    verify(manifest, folder)
    graph = make_backend(folder / manifest.graphs["fused"], backend, threads)
    return PictureEngine(manifest.signature, graph, manifest.fingerprint, max_batch)
