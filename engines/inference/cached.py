"""Backbone and head apart: each frame of a person passes the backbone once, each window the head.

Features are cached by frame, person and crop (``feature_slots``). ``crop_lock`` decides how long a crop stays; with
``ExactCrop`` every window has a crop of its own, and only a frame that occurs twice in a window is reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import FeatureCache
from engines.inference.batching import Work, pad_batch, plan_batches
from engines.inference.crop_lock import Anchor, CropPolicy
from engines.inference.decoding import decode
from engines.inference.feature_slots import FeatureSlots, SlotKey, split_by_slots
from engines.inference.regions import box_to_region, crop_regions, to_keypoints
from engines.inference.side_by_side import SideBySide
from engines.inference.signature_check import check_split_signature
from engines.spec.signature import Signature
from engines.vision.windows import Keypoints, Person, PersonWindows, list_people


@dataclass(frozen=True)
class _Row:
    """One person's window: its crop, and the keys of its frames, oldest first."""

    person: Person
    anchor: Anchor
    keys: tuple[SlotKey, ...]


class CachedRunner:
    """Runs backbone and head on a feature cache of ``slots`` crops, at least one window's.

    ``crops`` decides on each person's crop. ``max_batch`` rows share a run of a network that takes any batch.
    """

    def __init__(
        self, signature: Signature, cache: FeatureCache, slots: int, crops: CropPolicy, max_batch: int
    ) -> None:
        self.signature = signature
        self.max_batch = max_batch
        self.work = Work()
        self._cache = cache
        self._slots = FeatureSlots(slots)
        self._crops = crops
        self._threads = SideBySide()

    def open(self) -> None:
        """Load both graphs. Raises :class:`EngineError` if they do not fit the Signature."""
        self._cache.open()
        check_split_signature(self.signature, self._cache.describe())
        self._threads.open(self._cache.describe().side_by_side)

    def close(self) -> None:
        """Release memory and device, and forget all cached features."""
        self._threads.close()
        self._cache.close()
        self._clear()

    def estimate(self, windows: Sequence[PersonWindows]) -> list[Keypoints]:
        """Keypoints (K, 3) of every person, window by window. Each camera's windows must be in order of time."""
        rows = [row for window in windows for row in self._make_rows(window)]
        try:
            groups = split_by_slots([row.keys for row in rows], self._slots.count)
            found = [keypoints for group in groups for keypoints in self._run(rows[group])]
        except BaseException:
            # A slot may have been claimed and not been filled.
            self._clear()
            raise
        self._free_unused()
        return found

    # -- crops and keys ---------------------------------------------------------------------------------------------

    def _make_rows(self, window: PersonWindows) -> list[_Row]:
        # Windows without people matter too: a camera that starts again is recognised by its frame numbers.
        (camera, seq), pixels = window.keys[self.signature.past], window.frames[self.signature.past]
        self._crops.start_frame(camera, seq, (pixels.shape[1], pixels.shape[0]))
        return [self._make_row(person, camera) for person in list_people([window])]

    def _make_row(self, person: Person, camera: str) -> _Row:
        anchor = self._crops.get_anchor(camera, person.identity, box_to_region(self.signature, person.box))
        keys = tuple(SlotKey(*key, person.identity, anchor.number) for key in person.window.keys)
        return _Row(person, anchor, keys)

    def _free_unused(self) -> None:
        active = self._crops.list_active()
        self._slots.free(lambda key: key.anchor not in active)

    def _clear(self) -> None:
        self._crops.clear()
        self._slots.free(lambda _: True)

    # -- computation ------------------------------------------------------------------------------------------------

    def _run(self, rows: Sequence[_Row]) -> list[Keypoints]:
        """Compute the missing features of these rows, then run the head on their windows."""
        missing = self._slots.claim(key for row in rows for key in row.keys)
        self._compute_features(missing, rows)
        frames = sum(len(row.keys) for row in rows)
        self.work.add(people=len(rows), frames=frames, computed=len(missing))
        windows = np.array([[self._slots[key] for key in row.keys] for row in rows], np.intp)
        batches = plan_batches(len(rows), self._cache.describe(), self.max_batch)
        found = self._threads.map(lambda batch: self._run_head(windows[batch], rows[batch]), batches)
        return list(chain.from_iterable(found))

    def _compute_features(self, missing: Sequence[SlotKey], rows: Sequence[_Row]) -> None:
        sources = {key: (row, index) for row in rows for index, key in enumerate(row.keys)}
        description = self._cache.describe()

        def compute(batch: slice) -> None:
            rows_and_frames = [sources[key] for key in missing[batch]]
            frames = [row.person.window.frames[index] for row, index in rows_and_frames]
            crops = crop_regions(self.signature, frames, [row.anchor.region for row, _ in rows_and_frames])
            slots = np.array([self._slots[key] for key in missing[batch]], np.intp)
            self._cache.store(pad_batch(slots, description), pad_batch(crops, description))

        self._threads.map(compute, plan_batches(len(missing), description, self.max_batch))

    def _run_head(self, windows: NDArray[np.intp], rows: Sequence[_Row]) -> Keypoints:
        description = self._cache.describe()
        outputs = self._cache.read(pad_batch(windows, description))
        names = self.signature.outputs or tuple(tensor.name for tensor in description.outputs)
        points, scores = decode(self.signature, [outputs[name] for name in names])
        count = len(rows)  # without the rows that pad the batch
        return to_keypoints(self.signature, points[:count], scores[:count], [row.anchor.region for row in rows])
