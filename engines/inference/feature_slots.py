"""Bookkeeping for a feature cache: which slot holds the features of which person in which frame.

The least recently used slot is replaced first. The features themselves are in an
:class:`engines.backends.base.FeatureCache`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from engines.errors import EngineError


class SlotKey(NamedTuple):
    """One person in one frame through one crop: features with equal keys are equal."""

    camera: str
    seq: int
    identity: int
    anchor: int


class FeatureSlots:
    """An LRU map from :class:`SlotKey` to ``count`` slots, numbered from 0.

    >>> slots = FeatureSlots(2)
    >>> first, second, third = (SlotKey("hall", seq, 1, 1) for seq in (0, 1, 2))
    >>> slots.claim([first, second])
    [SlotKey(camera='hall', seq=0, identity=1, anchor=1), SlotKey(camera='hall', seq=1, identity=1, anchor=1)]
    >>> slots.claim([second, third])
    [SlotKey(camera='hall', seq=2, identity=1, anchor=1)]
    >>> slots[second], slots[third]
    (1, 0)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._slots: OrderedDict[SlotKey, int] = OrderedDict()
        self._free = list(reversed(range(count)))

    def __len__(self) -> int:
        return len(self._slots)

    def claim(self, keys: Iterable[SlotKey]) -> list[SlotKey]:
        """Assign a slot to each of ``keys``, all at the same time; return those whose slot is still to be filled.

        Raises :class:`EngineError` if there are more keys than slots.
        """
        wanted = list(dict.fromkeys(keys))
        if len(wanted) > self.count:
            raise EngineError(
                f"{len(wanted)} crops are needed at once, but the feature cache has {self.count} slots; raise people"
            )
        missing = [key for key in wanted if key not in self._slots]
        for key in wanted:
            if key in self._slots:
                self._slots.move_to_end(key)
        for key in missing:
            self._slots[key] = self._take_slot()
        return missing

    def __getitem__(self, key: SlotKey) -> int:
        """The slot of a claimed key."""
        return self._slots[key]

    def free(self, is_unused: Callable[[SlotKey], bool]) -> None:
        """Free the slots of all keys for which ``is_unused`` is true."""
        for key in [key for key in self._slots if is_unused(key)]:
            self._free.append(self._slots.pop(key))

    def _take_slot(self) -> int:
        # The keys just claimed are the most recently used, so none of them loses its slot.
        return self._free.pop() if self._free else self._slots.popitem(last=False)[1]


def split_by_slots(rows: Sequence[Sequence[SlotKey]], count: int) -> Iterator[slice]:
    """Slices of consecutive rows that need at most ``count`` slots; a row that needs more is a slice of its own.

    >>> keys = [SlotKey("hall", seq, 1, 1) for seq in range(4)]
    >>> list(split_by_slots([keys[0:2], keys[1:3], keys[2:4]], 3))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    start, needed = 0, set[SlotKey]()
    for index, row in enumerate(rows):
        if index > start and len(needed.union(row)) > count:
            yield slice(start, index)
            start, needed = index, set()
        needed.update(row)
    if rows:
        yield slice(start, len(rows))
