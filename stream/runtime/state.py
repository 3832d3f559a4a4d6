"""A small map of integers in a file, fast enough to write at every frame, and intact after ``kill -9``.

The file is mapped into memory, so a stored value belongs to the operating system at once and survives the process. A
value is one aligned 8-byte word: a reader finds the old one or the new one. A power failure may lose it, but the run
directory does not outlive one either.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from stream.errors import PosestreamError, TransportError
from stream.messages import Key

_SLOTS = 1024
_NAME_BYTES = 120
_SLOT_BYTES = 8 + _NAME_BYTES
_MIN, _MAX = -(2**63), 2**63 - 1


class PersistentMemory(MutableMapping[str, int]):
    """A map from names of at most 120 bytes to 64-bit integers, kept in ``path``; at most 1024 of them.

    A slot is a value followed by its name; the name is written last, so that a slot is complete or absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map = _map_file(path)
        self._values = memoryview(self._map).cast("q")
        self._slots: dict[str, int] = dict(self._read_names())
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in set(self._slots.values())]

    def _read_names(self) -> Iterator[tuple[str, int]]:
        for slot in range(_SLOTS):
            start = slot * _SLOT_BYTES + 8
            name = bytes(self._map[start : start + _NAME_BYTES]).rstrip(b"\0")
            if name:
                yield name.decode(errors="replace"), slot

    def __getitem__(self, name: str) -> int:
        return self._values[self._slots[name] * _SLOT_BYTES // 8]

    def __setitem__(self, name: str, value: int) -> None:
        if not _MIN <= value <= _MAX:
            raise PosestreamError(f"memory {name!r}: {value} does not fit 64 bits; keep a smaller number")
        slot = self._slots.get(name)
        if slot is None:
            self._add(name, value)
        else:
            self._values[slot * _SLOT_BYTES // 8] = value

    def _add(self, name: str, value: int) -> None:
        encoded = name.encode()
        if not 0 < len(encoded) <= _NAME_BYTES or b"\0" in encoded:
            raise PosestreamError(f"memory name {name!r} must have 1 to {_NAME_BYTES} bytes; choose a shorter one")
        if not self._free:
            raise PosestreamError(f"memory {self._path.name} is full: it holds {_SLOTS} numbers; delete some")
        slot = self._free.pop()
        self._values[slot * _SLOT_BYTES // 8] = value
        self._map[slot * _SLOT_BYTES + 8 : (slot + 1) * _SLOT_BYTES] = encoded.ljust(_NAME_BYTES, b"\0")
        self._slots[name] = slot

    def __delitem__(self, name: str) -> None:
        slot = self._slots.pop(name)
        self._map[slot * _SLOT_BYTES + 8 : (slot + 1) * _SLOT_BYTES] = bytes(_NAME_BYTES)
        self._free.append(slot)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def close(self) -> None:
        """Close the mapping; idempotent. The file stays."""
        self._values.release()
        self._map.close()


class Section(MutableMapping[str, int]):
    """The entries of ``memory`` whose names begin with ``prefix``, which is left out of them here."""

    def __init__(self, memory: MutableMapping[str, int], prefix: str) -> None:
        self._memory, self._prefix = memory, prefix

    def __getitem__(self, name: str) -> int:
        return self._memory[self._prefix + name]

    def __setitem__(self, name: str, value: int) -> None:
        self._memory[self._prefix + name] = value

    def __delitem__(self, name: str) -> None:
        del self._memory[self._prefix + name]

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (name[start:] for name in self._memory if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Draft(MutableMapping[str, int]):
    """A memory whose changes become final item by item, each when its item will not come again.

    A part that is restarted takes in again all items that were not done with. Its memory must be as it was before the
    first of these. Otherwise it would hold the future of the items: a tracker would look for people where they are only
    going to be.
    """

    def __init__(self, final: MutableMapping[str, int]) -> None:
        self._final = final
        self._now = dict(final)
        self._changed: dict[str, int | None] = {}
        self._drafts: dict[Key, tuple[int, dict[str, int | None]]] = {}
        self._count = 0
        self._written_at: dict[str, int] = {}

    def mark(self, key: Key) -> None:
        """All changes since the last mark were made while item ``key`` was processed."""
        if self._changed:
            self._count += 1
            self._drafts[key] = self._count, self._changed
            self._changed = {}

    def commit(self, key: Key) -> None:
        """Item ``key`` will not come again: make what was changed with it final, unless a later item did before."""
        number, changed = self._drafts.pop(key, (0, {}))
        for name, value in changed.items():
            if self._written_at.get(name, 0) < number:
                self._written_at[name] = number
                self._write(name, value)
        if not self._drafts:  # or it would grow with names that come and go
            self._written_at.clear()

    def _write(self, name: str, value: int | None) -> None:
        if value is None:
            self._final.pop(name, None)
        else:
            self._final[name] = value

    def __getitem__(self, name: str) -> int:
        return self._now[name]

    def __setitem__(self, name: str, value: int) -> None:
        self._now[name] = self._changed[name] = value

    def __delitem__(self, name: str) -> None:
        del self._now[name]
        self._changed[name] = None

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._now))

    def __len__(self) -> int:
        return len(self._now)


def _map_file(path: Path) -> mmap.mmap:
    size = _SLOTS * _SLOT_BYTES
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TransportError(f"memory {path} cannot be opened: {error.strerror}; check the run directory") from error
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
