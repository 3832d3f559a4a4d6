"""An export on a backend, in both ways that a line runs it: whole windows, and frame by frame with maps kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines.backends.base import FeatureCache
from engines.backends.registry import make_backend, make_feature_cache
from engines.spec.manifest import Manifest
from engines.spec.tensors import Array
from export.gpu_selftest.fixtures import LARGEST_BATCH

Points = Callable[[Array], Array]
"""Windows of crops (B, T, …) to points (B, K, 3)."""


@contextmanager
def whole(folder: Path, manifest: Manifest, backend: str) -> Iterator[Points]:
    """Every window through the fused graph."""
    network = make_backend(folder / manifest.graphs["fused"], backend)
    network.open()
    try:
        yield lambda windows: network.run({"crops": windows})["points"]
    finally:
        network.close()


@contextmanager
def ring(folder: Path, manifest: Manifest, backend: str) -> Iterator[FeatureCache]:
    """Backbone and head, with room for the windows of :data:`LARGEST_BATCH` people."""
    backbone, head = folder / manifest.graphs["backbone"], folder / manifest.graphs["head"]
    made = make_feature_cache(backbone, head, LARGEST_BATCH * manifest.signature.frames, backend)
    made.open()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def cut(folder: Path, manifest: Manifest, backend: str) -> Iterator[Points]:
    """Every frame through the backbone once, then its window through the head."""
    with ring(folder, manifest, backend) as made:
        yield lambda windows: _through(made, windows)


def _through(made: FeatureCache, windows: Array) -> Array:
    slots = slots_of(*windows.shape[:2])
    for frame, crops in zip(slots.T, np.moveaxis(windows, 1, 0), strict=True):
        made.store(np.ascontiguousarray(frame), np.ascontiguousarray(crops))
    return made.read(slots)["points"]


def slots_of(people: int, frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """(people, frames), each its own."""
    return np.arange(people * frames, dtype=np.intp).reshape(people, frames)


WAYS = {"whole": whole, "cut": cut}
