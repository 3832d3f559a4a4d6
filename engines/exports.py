"""The folder of an export as a network that runs: which of its graphs, and how its people are cropped.

``crop`` is ``exact`` (the paper's way: every key frame's box crops its whole window anew), ``lock`` (a crop is held
while the person stays in it, see ``crop_lock``, so that kept features serve again) or ``auto``: ``lock`` where the
export is cut in two, else ``exact``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from engines.backends.base import Backend, make_backend, make_ring
from engines.crop_lock import CropExact, CropLock, Crops
from engines.errors import EngineError
from engines.manifest import Manifest, verify
from engines.signature import Signature
from engines.streamed import Streamed
from engines.whole import MAX_BATCH

Crop = Literal["auto", "exact", "lock"]

MARGIN = 0.15
"""See docs/decisions for what it was measured to cost and to spare."""

PEOPLE = 32
"""So many people's features are kept, of all cameras together."""

CUT = frozenset({"backbone", "head"})


def network(
    folder: Path, manifest: Manifest, backend: str, threads: int, crop: Crop, margin: float, people: int
) -> Backend | Streamed:
    """What runs, not yet open. Raises :class:`EngineError` unless every file is the one that was exported."""
    signature = manifest.signature
    chosen = check_crop(signature, manifest.graphs.keys(), crop)
    verify(manifest, folder)
    if chosen == "exact" and "fused" in manifest.graphs:
        return make_backend(folder / manifest.graphs["fused"], backend, threads)
    crops = CropLock(margin, patience=signature.frames) if chosen == "lock" else CropExact()
    return _streamed(folder, manifest, backend, threads, crops, people)


def _streamed(folder: Path, manifest: Manifest, backend: str, threads: int, crops: Crops, people: int) -> Streamed:
    slots = people * manifest.signature.frames
    backbone, head = (folder / manifest.graphs[part] for part in ("backbone", "head"))
    ring = make_ring(backbone, head, slots, backend, threads)
    return Streamed(manifest.signature, ring, slots, crops, MAX_BATCH)


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
