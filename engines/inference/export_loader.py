"""The choice of graphs and of the crop policy for an export.

``crop`` is ``exact``, where every key frame's box crops its window anew, as in the papers; ``lock``, where a person's
crop stays while they stay in it, so that cached features can be reused (see ``crop_lock``); or ``auto``, which is
``lock`` if the export has backbone and head, else ``exact``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from engines.backends.base import Backend
from engines.backends.cores import Threads
from engines.backends.registry import make_backend, make_feature_cache
from engines.errors import EngineError
from engines.inference.cached import CachedRunner
from engines.inference.crop_lock import CropLock, ExactCrop
from engines.inference.full_window import MAX_BATCH
from engines.spec.manifest import Manifest, Part, verify_files
from engines.spec.signature import Signature

Crop = Literal["auto", "exact", "lock"]

MARGIN = 0.15
"""The default of ``crop_lock``; docs/decisions has the measured cost and savings."""

PEOPLE = 32
"""The number of people, over all cameras, whose features are cached."""

SPLIT_PARTS = frozenset({"backbone", "head"})


def make_runner(
    folder: Path, manifest: Manifest, backend: str, threads: Threads, crop: Crop, margin: float, people: int
) -> Backend | CachedRunner:
    """What runs the export in ``folder``, not yet open: a backend of one graph, or backbone and head.

    ``margin`` is that of :class:`engines.inference.crop_lock.CropLock`; features of ``people`` people are cached.
    Raises :class:`EngineError` if a file is not the one that was exported.
    """
    signature = manifest.signature
    policy = resolve_crop(signature, manifest.graphs.keys(), crop)
    verify_files(manifest, folder)
    paths = select_graphs(folder, manifest, crop)
    if len(paths) == 1:
        return make_backend(paths[0], backend, threads)
    backbone, head = paths
    crops = CropLock(margin, patience=signature.frames) if policy == "lock" else ExactCrop()
    slots = people * signature.frames
    return CachedRunner(signature, make_feature_cache(backbone, head, slots, backend, threads), slots, crops, MAX_BATCH)


def select_graphs(folder: Path, manifest: Manifest, crop: Crop) -> tuple[Path, ...]:
    """The graphs that run: the fused one, or backbone and head."""
    policy = resolve_crop(manifest.signature, manifest.graphs.keys(), crop)
    parts: tuple[Part, ...] = ("fused",) if policy == "exact" and "fused" in manifest.graphs else ("backbone", "head")
    return tuple(folder / manifest.graphs[part] for part in parts)


def resolve_crop(signature: Signature, parts: Collection[str], crop: Crop) -> Literal["exact", "lock"]:
    """``crop`` with ``auto`` resolved. Raises :class:`EngineError` if an export of these ``parts`` cannot do it."""
    is_split = set(parts) >= SPLIT_PARTS
    if not is_split and "fused" not in parts:
        raise EngineError(
            f"model {signature.name}: its export has {' and '.join(sorted(parts)) or 'no graphs'}, which is no whole "
            "network; export it again with 'fused', or with both 'backbone' and 'head'"
        )
    if crop == "lock" and signature.frames == 1:
        raise EngineError(
            f"model {signature.name}: crop=lock reuses features between frames, but the network reads single frames; "
            "leave crop=auto"
        )
    if crop == "lock" and not is_split:
        raise EngineError(
            f"model {signature.name}: crop=lock needs an export with 'backbone' and 'head', but this one has one "
            "graph; export it again with both, or use crop=exact"
        )
    return "lock" if crop != "exact" and is_split and signature.frames > 1 else "exact"
