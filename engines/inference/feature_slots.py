"""Which person's features of which frame lie in which slot of a ring: least recently used goes first.

Pure bookkeeping; what a slot holds is the affair of :class:`engines.backends.base.FeatureCache`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from engines.errors import EngineError


class SlotKey(NamedTuple):
    """One person in one frame, seen through one crop: what must agree for features to be the same."""

    camera: str
    seq: int
    identity: int
    anchor: int


class FeatureSlots:
    """``count`` slots, numbered from 0.

    >>> slots = FeatureSlots(2)
    >>> first, second, third = (SlotKey("hall", seq, 1, 1) for seq in (0, 1, 2))
    >>> slots.claim([first, second])
    [SlotKey(camera='hall', seq=0, identity=1, anchor=1), SlotKey(camera='hall', seq=1, identity=1, anchor=1)]
    >>> slots.claim([second, third])
    [SlotKey(camera='hall', seq=2, identity=1, anchor=1)]
    >>> slots.of(second), slots.of(third)
    (1, 0)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._slots: OrderedDict[SlotKey, int] = OrderedDict()
        self._free = list(reversed(range(count)))

    def __len__(self) -> int:
        return len(self._slots)

    def claim(self, keys: Iterable[SlotKey]) -> list[SlotKey]:
        """Give every one of ``keys`` a slot at once; returns those whose slot is still to be filled.

        None of them takes the slot of another. Raises :class:`EngineError` when they are more than there are slots.
        """
        wanted = list(dict.fromkeys(keys))
        if len(wanted) > self.count:
            raise EngineError(
                f"{len(wanted)} frames of people are wanted at once, but only {self.count} can be kept; keep more"
            )
        missing = [key for key in wanted if key not in self._slots]
        for key in wanted:
            if key in self._slots:
                self._slots.move_to_end(key)
        for key in missing:
            self._slots[key] = self._vacant()
        return missing

    def of(self, key: SlotKey) -> int:
        """The slot of a key that was claimed."""
        return self._slots[key]

    def forget(self, is_gone: Callable[[SlotKey], bool]) -> None:
        """Free the slots of all for whom that is true."""
        for key in [key for key in self._slots if is_gone(key)]:
            self._free.append(self._slots.pop(key))

    def _vacant(self) -> int:
        # Those just claimed are the most recent, so the least recent is never one of them.
        return self._free.pop() if self._free else self._slots.popitem(last=False)[1]


def split_by_slots(rows: Sequence[Sequence[SlotKey]], count: int) -> Iterator[slice]:
    """Consecutive rows in groups that need at most ``count`` slots each; a row that needs more is a group alone.

    >>> keys = [SlotKey("hall", seq, 1, 1) for seq in range(4)]
    >>> list(split_by_slots([keys[0:2], keys[1:3], keys[2:4]], 3))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    start, needed = 0, set[SlotKey]()
    for place, row in enumerate(rows):
        if place > start and len(needed.union(row)) > count:
            yield slice(start, place)
            start, needed = place, set()
        needed.update(row)
    if rows:
        yield slice(start, len(rows))
