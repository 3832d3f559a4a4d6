"""An engine: a pose network ready to run. People in windows of frames in, keypoints in frame coordinates out.

Between are the modules it names: a person's crop is one region for all frames of a window (``regions``, ``geometry``),
goes through a network in one graph (``whole``) or in two (``streamed``), is decoded (``decoding``) and taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from engines.backends.auto import Choice, choose
from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.hub import catalogue
from engines.inference import export_loader
from engines.inference.batching import Work
from engines.inference.cached import CachedRunner
from engines.inference.export_loader import MARGIN, PEOPLE, Crop
from engines.inference.full_window import MAX_BATCH, FullWindowRunner
from engines.inference.signature_check import infer_signature
from engines.resource import Resource
from engines.spec import cache
from engines.spec.signature import Signature
from engines.vision.windows import Key, Keypoints, PersonWindows

__all__ = ["MARGIN", "PEOPLE", "Crop", "Engine", "Key", "Keypoints", "PersonWindows", "Work", "load", "load_signature"]


NOT_CHOSEN = Choice("", "given ready-made")


class Engine(Resource):
    """A pose network, its Signature and what runs it: the backend of one graph, or a network that is cut in two.

    Resource by ``with``, by :meth:`open`, or by its first estimate. ``fingerprint`` identifies the file, or the export.
    ``choice`` is the name of the backend and why it is that one.
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
        self._strategy = (
            network if isinstance(network, CachedRunner) else FullWindowRunner(signature, network, max_batch)
        )
        self._open = False

    def open(self) -> None:
        """Load the network. Raises :class:`EngineError` where it does not fit its Signature. Idempotent."""
        if not self._open:
            self._strategy.open()
            self._open = True

    def close(self) -> None:
        """Give back memory and device; idempotent."""
        self._strategy.close()
        self._open = False

    @property
    def work(self) -> Work:
        """How many windows it has estimated, and how much of them it had to compute."""
        return self._strategy.work

    def estimate(self, requests: Sequence[PersonWindows]) -> list[Keypoints]:
        """Keypoints (N, K, 3) float32 for each window: x px, y px in its key frame, score in 0..1.

        People of all windows share batches, in order. Raises :class:`EngineError`.
        """
        for window in requests:
            self._check_window(window)
        self.open()
        rows = iter(self._strategy.estimate(requests))
        return [self._stacked(list(islice(rows, len(window)))) for window in requests]

    def _check_window(self, window: PersonWindows) -> None:
        wanted = self.signature.frames
        if len(window.frames) != wanted or len(window.keys) != wanted:
            raise EngineError(
                f"model {self.signature.name}: its window is {wanted} frames (past {self.signature.past}, "
                f"future {self.signature.future}), but it was given {len(window.frames)} frames and "
                f"{len(window.keys)} keys"
            )

    def _stacked(self, rows: list[Keypoints]) -> Keypoints:
        joints = len(self.signature.joints)
        return np.stack(rows) if rows else np.zeros((0, joints, 3), np.float32)


def load(
    model: str = catalogue.EMBEDDED,
    backend: str = "auto",
    threads: int = 1,
    *,
    crop: Crop = "auto",
    margin: float = MARGIN,
    people: int = PEOPLE,
) -> Engine:
    """The engine called ``model``: one that ships, a path or a name of the catalogue; its network is not loaded yet.

    ``crop``, ``margin`` and ``people`` are for exports that are cut in two, see :mod:`engines.inference.export_loader`.
    Raises
    :class:`EngineError` when there is no such model, no Signature and none can be inferred, or it is damaged.
    """
    found = catalogue.find(model, "pose")
    if found.manifest is not None:
        choice = choose(*export_loader.graphs(found.path, found.manifest, crop), name=backend)
        network = export_loader.network(found.path, found.manifest, choice.name, threads, crop, margin, people)
        return Engine(found.manifest.signature, network, found.manifest.fingerprint, choice=choice)
    return _of_file(found, load_signature(model, crop), backend, threads)


def _of_file(found: catalogue.Model, signature: Signature, backend: str, threads: int) -> Engine:
    path = found.weights()
    mark = cache.fingerprint(path)
    if signature.fingerprint not in ("", mark):
        raise EngineError(
            f"model {path}: its Signature was made for the file {signature.fingerprint}, but this one is {mark}; "
            "get the pair again, or empty 'fingerprint' in the Signature"
        )
    choice = choose(path, name=backend)
    return Engine(signature, make_backend(path, choice.name, threads), mark, choice=choice)


def load_signature(model: str = catalogue.EMBEDDED, crop: Crop = "auto") -> Signature:
    """The Signature of ``model``, without opening the network where it has one written down.

    Raises :class:`EngineError` also where it cannot be cropped by ``crop``.
    """
    found = catalogue.find(model, "pose")
    signature = found.signature or infer_signature(found.name, found.weights())
    export_loader.check_crop(signature, found.manifest.graphs.keys() if found.manifest else {"fused"}, crop)
    return signature
