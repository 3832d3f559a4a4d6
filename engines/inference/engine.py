"""An engine: a pose network ready to run. Windows of frames and boxes of people in, keypoints in frame px out.

A person's crop is the same region in all frames of a window (``regions``). Crops run through one graph
(``full_window``) or through backbone and head with cached features (``cached``); outputs are decoded (``decoding``) and
transformed back to the frame.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

import numpy as np

from engines.backends.auto import Choice, choose
from engines.backends.base import Backend
from engines.backends.cores import Threads
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub.catalogue import DEFAULT_MODEL
from engines.hub.lookup import Model, find_model
from engines.inference import export_loader
from engines.inference.batching import Work
from engines.inference.cached import CachedRunner
from engines.inference.export_loader import MARGIN, PEOPLE, Crop
from engines.inference.full_window import MAX_BATCH, FullWindowRunner
from engines.inference.signature_inference import infer_signature
from engines.resource import Resource
from engines.spec.model_files import fingerprint_model
from engines.spec.signature import Signature
from engines.vision.windows import Key, Keypoints, PersonWindows

__all__ = [
    "MARGIN",
    "PEOPLE",
    "Crop",
    "Engine",
    "Key",
    "Keypoints",
    "PersonWindows",
    "Threads",
    "Work",
    "load",
    "load_signature",
]


_log = logging.getLogger(__name__)

NOT_CHOSEN = Choice("", "given ready-made")


class Engine(Resource):
    """A pose network, its Signature and what runs it.

    ``network`` is a backend of one graph, or a :class:`CachedRunner` of backbone and head. ``max_batch`` people share a
    run of a backend that takes any batch. ``fingerprint`` identifies the file or the export. ``choice`` is the backend
    and why it was chosen.

    Use it in a ``with`` block, or call :meth:`open` and :meth:`close`; the first :meth:`estimate` opens it too. It is
    used by one thread at a time.
    """

    def __init__(
        self,
        signature: Signature,
        network: Backend | CachedRunner,
        fingerprint: str = "",
        max_batch: int = MAX_BATCH,
        choice: Choice = NOT_CHOSEN,
    ) -> None:
        self.signature = signature
        self.fingerprint = fingerprint
        self.choice = choice
        self._runner = network if isinstance(network, CachedRunner) else FullWindowRunner(signature, network, max_batch)
        self._is_open = False

    def open(self) -> None:
        """Load the network; does nothing if already open.

        Raises :class:`EngineError` if it does not fit its Signature.
        """
        if not self._is_open:
            self._runner.open()
            self._is_open = True

    def close(self) -> None:
        """Release memory and device; does nothing if already closed."""
        self._runner.close()
        self._is_open = False

    @property
    def work(self) -> Work:
        """How much has been estimated, and how much of it was computed rather than taken from the cache."""
        return self._runner.work

    def estimate(self, requests: Sequence[PersonWindows]) -> list[Keypoints]:
        """Keypoints (N, K, 3) float32 for each of ``requests``: x px, y px in its key frame, score in 0..1.

        People of all windows share batches, in order. Raises :class:`EngineError` for a window of the wrong length and
        if the network fails.
        """
        for window in requests:
            self._check_window(window)
        self.open()
        rows = iter(self._runner.estimate(requests))
        return [self._stack(list(islice(rows, len(window)))) for window in requests]

    def _check_window(self, window: PersonWindows) -> None:
        expected = self.signature.frames
        if len(window.frames) != expected or len(window.keys) != expected:
            raise EngineError(
                f"model {self.signature.name}: its window is {expected} frames (past {self.signature.past}, "
                f"future {self.signature.future}), but it was given {len(window.frames)} frames and "
                f"{len(window.keys)} keys"
            )

    def _stack(self, rows: list[Keypoints]) -> Keypoints:
        joints = len(self.signature.joints)
        return np.stack(rows) if rows else np.zeros((0, joints, 3), np.float32)


def load(
    model: str = DEFAULT_MODEL,
    backend: str = "auto",
    threads: Threads = "auto",
    *,
    crop: Crop = "auto",
    margin: float = MARGIN,
    people: int = PEOPLE,
) -> Engine:
    """The engine of ``model``; its network is loaded on :meth:`Engine.open`.

    ``model`` is a name or a path, see :mod:`engines.hub.lookup`. ``backend`` and ``threads`` are as in
    :func:`engines.backends.registry.make_backend`; ``crop``, ``margin`` and ``people`` apply to exports, see
    :mod:`engines.inference.export_loader`. Raises :class:`EngineError` for an unknown model, a damaged file, and a
    network without a Signature for which none can be inferred.
    """
    found = find_model(model, "pose")
    if found.manifest is not None:
        choice = choose(*export_loader.select_graphs(found.path, found.manifest, crop), name=backend)
        network = export_loader.make_runner(found.path, found.manifest, choice.name, threads, crop, margin, people)
        return Engine(found.manifest.signature, network, found.manifest.fingerprint, choice=choice)
    signature = load_signature(model, crop)
    if found.signature is None:
        _log.warning("%s", infer_signature(found.name, found.find_weights()).warning)
    return _load_file(found, signature, backend, threads)


def _load_file(found: Model, signature: Signature, backend: str, threads: Threads) -> Engine:
    path = found.find_weights()
    fingerprint = fingerprint_model(path)
    if signature.fingerprint not in ("", fingerprint):
        raise EngineError(
            f"model {path}: its Signature was made for the file {signature.fingerprint}, but this one is "
            f"{fingerprint}; get the pair again, or empty 'fingerprint' in the Signature"
        )
    choice = choose(path, name=backend)
    return Engine(signature, make_backend(path, choice.name, threads), fingerprint, choice=choice)


def load_signature(model: str = DEFAULT_MODEL, crop: Crop = "auto") -> Signature:
    """The Signature of ``model``; the network is opened only if it has none and one must be inferred.

    Raises :class:`EngineError` as :func:`load` does, and if the model does not support ``crop``.
    """
    found = find_model(model, "pose")
    signature = found.signature or infer_signature(found.name, found.find_weights()).signature
    export_loader.resolve_crop(signature, found.manifest.graphs.keys() if found.manifest else {"fused"}, crop)
    return signature
