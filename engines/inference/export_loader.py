"""The folder of an export as a network that runs: which of its graphs, and how its people are cropped.

``crop`` is ``exact`` (the paper's way: every key frame's box crops its whole window anew), ``lock`` (a crop is held
while the person stays in it, see ``crop_lock``, so that kept features serve again) or ``auto``: ``lock`` where the
export is cut in two, else ``exact``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from engines.backends.base import Backend
from engines.backends.registry import make_backend, make_feature_cache
from engines.errors import EngineError
from engines.inference.cached import CachedRunner
from engines.inference.crop_lock import CropLock, ExactCrop
from engines.inference.full_window import MAX_BATCH
from engines.spec.manifest import Manifest, Part, verify
from engines.spec.signature import Signature

Crop = Literal["auto", "exact", "lock"]

MARGIN = 0.15
"""See docs/explanation/decisions for what it was measured to cost and to spare."""

PEOPLE = 32
"""So many people's features are kept, of all cameras together."""

CUT = frozenset({"backbone", "head"})


def network(
    folder: Path, manifest: Manifest, backend: str, threads: int, crop: Crop, margin: float, people: int
) -> Backend | CachedRunner:
    """What runs, not yet open. Raises :class:`EngineError` unless every file is the one that was exported."""
    signature = manifest.signature
    chosen = check_crop(signature, manifest.graphs.keys(), crop)
    verify(manifest, folder)
    paths = graphs(folder, manifest, crop)
    if len(paths) == 1:
        return make_backend(paths[0], backend, threads)
    backbone, head = paths
    crops = CropLock(margin, patience=signature.frames) if chosen == "lock" else ExactCrop()
    slots = people * signature.frames
    return CachedRunner(signature, make_feature_cache(backbone, head, slots, backend, threads), slots, crops, MAX_BATCH)


def graphs(folder: Path, manifest: Manifest, crop: Crop) -> tuple[Path, ...]:
    """What is run: the fused graph, or backbone and head."""
    is_whole = check_crop(manifest.signature, manifest.graphs.keys(), crop) == "exact" and "fused" in manifest.graphs
    parts: tuple[Part, ...] = ("fused",) if is_whole else ("backbone", "head")
    return tuple(folder / manifest.graphs[part] for part in parts)


def check_crop(signature: Signature, parts: Collection[str], crop: Crop) -> Literal["exact", "lock"]:
    """How people are cropped, ``auto`` decided. Raises :class:`EngineError` where the ``parts`` cannot do it."""
    is_cut = set(parts) >= CUT
    if not is_cut and "fused" not in parts:
        raise EngineError(
            f"model {signature.name}: its export has {' and '.join(sorted(parts)) or 'no graphs'}, which is no whole "
            "network; export it again with 'fused', or with both 'backbone' and 'head'"
        )
    if crop == "lock" and signature.frames == 1:
        raise EngineError(
            f"model {signature.name}: crop=lock keeps features between frames, but it reads single frames; "
            "leave crop=auto"
        )
    if crop == "lock" and not is_cut:
        raise EngineError(
            f"model {signature.name}: crop=lock needs a network that is exported in two, 'backbone' and 'head', but it "
            "has one graph; export it again, or take crop=exact"
        )
    return "lock" if crop != "exact" and is_cut and signature.frames > 1 else "exact"
