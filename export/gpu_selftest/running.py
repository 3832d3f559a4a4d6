"""An export on a backend, in both ways that a pipeline runs it: whole windows, and frame by frame with a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines.backends.base import FeatureCache
from engines.backends.registry import make_backend, make_feature_cache
from engines.spec.manifest import Manifest
from engines.spec.tensors import Array
from export.gpu_selftest.fixtures import MAX_BATCH

Points = Callable[[Array], Array]
"""Windows of crops (B, T, …) to points (B, K, 3)."""


@contextmanager
def open_whole(folder: Path, manifest: Manifest, backend: str) -> Iterator[Points]:
    """Every window through the fused graph."""
    network = make_backend(folder / manifest.graphs["fused"], backend)
    network.open()
    try:
        yield lambda windows: network.run({"crops": windows})["points"]
    finally:
        network.close()


@contextmanager
def open_cache(folder: Path, manifest: Manifest, backend: str) -> Iterator[FeatureCache]:
    """Backbone and head, with room for the windows of :data:`LARGEST_BATCH` people."""
    backbone, head = folder / manifest.graphs["backbone"], folder / manifest.graphs["head"]
    cache = make_feature_cache(backbone, head, MAX_BATCH * manifest.signature.frames, backend)
    cache.open()
    try:
        yield cache
    finally:
        cache.close()


@contextmanager
def open_split(folder: Path, manifest: Manifest, backend: str) -> Iterator[Points]:
    """Every frame through the backbone once, then its window through the head."""
    with open_cache(folder, manifest, backend) as cache:
        yield lambda windows: _run_split(cache, windows)


def _run_split(cache: FeatureCache, windows: Array) -> Array:
    slots = make_slots(*windows.shape[:2])
    for frame, crops in zip(slots.T, np.moveaxis(windows, 1, 0), strict=True):
        cache.store(np.ascontiguousarray(frame), np.ascontiguousarray(crops))
    return cache.read(slots)["points"]


def make_slots(people: int, frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Slots (people, frames), all different."""
    return np.arange(people * frames, dtype=np.intp).reshape(people, frames)


WAYS = {"whole": open_whole, "split": open_split}
