"""A network that is cut in two: each frame of a person passes the backbone once, each window the head.

Features are the same when the frame, the person and the crop are, so they are kept under these (``feature_slots``). How
long a crop stays the same is the affair of ``crop_lock``; by the paper's way every window has a crop of its own, and
nothing is met again but a frame that stands in a window twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import FeatureCache
from engines.inference.batching import Work, get_batch_size, pad_batch, split_batches
from engines.inference.crop_lock import Anchor, Crops
from engines.inference.decoding import decode
from engines.inference.feature_slots import FeatureSlots, SlotKey, split_by_slots
from engines.inference.regions import box_to_region, cut, placed
from engines.inference.signature_check import check_split_signature
from engines.spec.signature import Signature
from engines.vision.windows import Keypoints, Person, PersonWindows, list_people


@dataclass(frozen=True)
class _Row:
    """One person's window as the ring knows it: the crop, and the keys of its frames in order of time."""

    person: Person
    anchor: Anchor
    keys: tuple[SlotKey, ...]


class CachedRunner:
    """A ring of ``slots`` frames, at least a window's, and what lies in it; ``crops`` says who is cropped how.

    ``max_batch`` rows share a run of a network of any batch.
    """

    def __init__(self, signature: Signature, ring: FeatureCache, slots: int, crops: Crops, max_batch: int) -> None:
        self.signature = signature
        self.max_batch = max_batch
        self.work = Work()
        self._ring = ring
        self._slots = FeatureSlots(slots)
        self._crops = crops

    def open(self) -> None:
        """Load both graphs. Raises :class:`EngineError` where they do not fit the Signature."""
        self._ring.open()
        check_split_signature(self.signature, self._ring.describe())

    def close(self) -> None:
        """Give back memory and device; nothing that was kept is used again."""
        self._ring.close()
        self._forget_all()

    def estimate(self, windows: Sequence[PersonWindows]) -> list[Keypoints]:
        """(K, 3) for everybody, window by window; each camera's windows come in order of time."""
        rows = [row for window in windows for row in self._anchored(window)]
        try:
            groups = split_by_slots([row.keys for row in rows], self._slots.count)
            found = [keypoints for group in groups for keypoints in self._run(rows[group])]
        except BaseException:
            # A slot may have been claimed and not been filled.
            self._forget_all()
            raise
        self._forget_gone()
        return found

    # -- whose crop, and under which keys ---------------------------------------------------------------------------

    def _anchored(self, window: PersonWindows) -> list[_Row]:
        # Also where nobody is: a stream that began anew is known by its frames.
        (camera, seq), pixels = window.keys[self.signature.past], window.frames[self.signature.past]
        self._crops.begin(camera, seq, (pixels.shape[1], pixels.shape[0]))
        return [self._row(person, camera) for person in list_people([window])]

    def _row(self, person: Person, camera: str) -> _Row:
        wanted = box_to_region(self.signature, person.box)
        anchor = self._crops.anchor(camera, person.identity, wanted)
        keys = tuple(SlotKey(*key, person.identity, anchor.number) for key in person.window.keys)
        return _Row(person, anchor, keys)

    def _forget_gone(self) -> None:
        held = self._crops.held()
        self._slots.forget(lambda key: key.anchor not in held)

    def _forget_all(self) -> None:
        self._crops.clear()
        self._slots.forget(lambda _: True)

    # -- what is computed -------------------------------------------------------------------------------------------

    def _run(self, rows: Sequence[_Row]) -> list[Keypoints]:
        """Fill the slots that these rows miss, in as few runs as can be; then read all of their windows."""
        missing = self._slots.claim(key for row in rows for key in row.keys)
        self._fill(missing, rows)
        frames = sum(len(row.keys) for row in rows)
        self.work.add(people=len(rows), frames=frames, computed=len(missing))
        windows = np.array([[self._slots.of(key) for key in row.keys] for row in rows], np.intp)
        runs = split_batches(len(rows), get_batch_size(self._ring.describe(), self.max_batch))
        return [found for run in runs for found in self._read(windows[run], rows[run])]

    def _fill(self, missing: Sequence[SlotKey], rows: Sequence[_Row]) -> None:
        where = {key: (row, place) for row in rows for place, key in enumerate(row.keys)}
        description = self._ring.describe()
        for run in split_batches(len(missing), get_batch_size(description, self.max_batch)):
            crops = np.stack([self._crop(*where[key]) for key in missing[run]])
            slots = np.array([self._slots.of(key) for key in missing[run]], np.intp)
            self._ring.store(pad_batch(slots, description), pad_batch(crops, description))

    def _crop(self, row: _Row, place: int) -> NDArray[np.generic]:
        return cut(self.signature, row.person.window.frames[place], row.anchor.region)

    def _read(self, windows: NDArray[np.intp], rows: Sequence[_Row]) -> list[Keypoints]:
        description = self._ring.describe()
        outputs = self._ring.read(pad_batch(windows, description))
        names = self.signature.outputs or tuple(tensor.name for tensor in description.outputs)
        points, scores = decode(self.signature, [outputs[name] for name in names])
        pairs = zip(points, scores, rows, strict=False)  # without those that fill up the batch
        return [placed(self.signature, found, sure, row.anchor.region) for found, sure, row in pairs]
