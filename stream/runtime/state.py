"""A small map of integers in a file, fast enough to write at every frame, and intact after ``kill -9``.

The file is mapped into memory, so a stored value belongs to the operating system at once and survives the process. A
value is one aligned 8-byte word: a reader finds the old one or the new one. A power failure may lose it, but the run
directory does not outlive one either. Several values are stored together by way of a journal behind the slots: its
length, one word, is written last, and what it holds is done again when the file is opened.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stream.errors import PosestreamError, TransportError
from stream.messages import Key
from stream.runtime.private_files import write
from stream.transports.file_identity import FileIdentity, is_at

_logger = logging.getLogger(__name__)

_SLOTS = 1024
_NAME_BYTES = 120
_SLOT_BYTES = 8 + _NAME_BYTES
_JOURNAL_AT = _SLOTS * _SLOT_BYTES
_ENTRY_BYTES = 8 + _SLOT_BYTES
_MAX_ENTRIES = 2 * _SLOTS  # every slot emptied, and used anew
_FILE_BYTES = _JOURNAL_AT + 8 + _MAX_ENTRIES * _ENTRY_BYTES
_MIN, _MAX = -(2**63), 2**63 - 1

Changes = Mapping[str, int | None]
"""New values by name; None for a name that is deleted."""


class Memory(MutableMapping[str, int]):
    """A map of integers that outlives its process."""

    @abstractmethod
    def store(self, changes: Changes) -> None:
        """Store all of these values (None: delete the name), or none where the process is killed meanwhile."""

    def restore(self) -> None:
        """Make sure that the next process will find it; call it often."""


class PersistentMemory(Memory):
    """A map from names of at most 120 bytes to 64-bit integers, kept in ``path``; at most 1024 of them.

    A slot is a value followed by its name; the name is written last, so that a slot is complete or absent. The file is
    read once, when it is opened: what another program writes into it later is overwritten, and never believed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()
        self._apply_journal()
        self._slots: dict[str, int] = dict(self._read_names())
        self._numbers = {name: self._values[slot * _SLOT_BYTES // 8] for name, slot in self._slots.items()}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in set(self._slots.values())]

    def _open(self, *, is_new: bool = True) -> None:
        self._map, self._file = _map_file(self._path, is_new=is_new)
        self._values = memoryview(self._map).cast("q")

    def restore(self) -> None:
        """Write the file anew if it was removed, replaced by another, or overwritten."""
        if not is_at(self._path, self._file):
            self._replace()
        elif not self._is_intact():
            self._map[:] = self._encode_all()
            _logger.warning("memory %s was overwritten by another program and is written anew", self._path)

    def _is_intact(self) -> bool:
        return self._values[_JOURNAL_AT // 8] == 0 and all(
            self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] == _encode_slot(name, self._numbers[name])
            for name, slot in self._slots.items()
        )

    def _encode_all(self) -> bytes:
        content = bytearray(_FILE_BYTES)
        for name, slot in self._slots.items():
            content[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = _encode_slot(name, self._numbers[name])
        return bytes(content)

    def _replace(self) -> None:
        former, values = self._map, self._values
        try:
            write(self._path, self._encode_all())
            self._open(is_new=False)
        except (OSError, TransportError):
            return  # as without room on the disk: tried again, and if the part is restarted before, the line ends
        values.release()
        former.close()
        _logger.warning("memory %s was removed by another program and is written anew", self._path)

    def _read_names(self) -> Iterator[tuple[str, int]]:
        for slot in range(_SLOTS):
            start = slot * _SLOT_BYTES + 8
            name = bytes(self._map[start : start + _NAME_BYTES]).rstrip(b"\0")
            if name:
                yield name.decode(errors="replace"), slot

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def __setitem__(self, name: str, value: int) -> None:
        slot = self._slots.get(name)
        if slot is None:
            slot = self._take_slot(name)
            self._values[slot * _SLOT_BYTES // 8] = _check(name, value)
            self._map[slot * _SLOT_BYTES + 8 : (slot + 1) * _SLOT_BYTES] = _encode(name)
            self._slots[name] = slot
        else:
            self._values[slot * _SLOT_BYTES // 8] = _check(name, value)
        self._numbers[name] = value

    def _take_slot(self, name: str) -> int:
        _encode(name)
        if not self._free:
            raise PosestreamError(f"memory {self._path.name} is full: it holds {_SLOTS} numbers; delete some")
        return self._free.pop()

    def store(self, changes: Changes) -> None:
        entries = [self._change(name, value) for name, value in changes.items()]
        start = _JOURNAL_AT + 8
        for number, (slot, image) in enumerate(entries):
            at = start + number * _ENTRY_BYTES
            self._map[at : at + _ENTRY_BYTES] = slot.to_bytes(8, "little") + image
        self._values[_JOURNAL_AT // 8] = len(entries)
        self._apply_journal()

    def _change(self, name: str, value: int | None) -> tuple[int, bytes]:
        """The slot of a name and its new content."""
        if value is None:
            slot = self._forget(name)
            return slot, bytes(_SLOT_BYTES)
        _check(name, value)
        if name not in self._slots:
            self._slots[name] = self._take_slot(name)
        self._numbers[name] = value
        return self._slots[name], _encode_slot(name, value)

    def _forget(self, name: str) -> int:
        """The slot that is free now."""
        slot = self._slots.pop(name)
        del self._numbers[name]
        self._free.append(slot)
        return slot

    def _apply_journal(self) -> None:
        for number in range(min(self._values[_JOURNAL_AT // 8], _MAX_ENTRIES)):
            at = _JOURNAL_AT + 8 + number * _ENTRY_BYTES
            slot = int.from_bytes(self._map[at : at + 8], "little")
            if slot < _SLOTS:
                self._map[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES] = self._map[at + 8 : at + _ENTRY_BYTES]
        self._values[_JOURNAL_AT // 8] = 0

    def __delitem__(self, name: str) -> None:
        slot = self._forget(name)
        self._map[slot * _SLOT_BYTES + 8 : (slot + 1) * _SLOT_BYTES] = bytes(_NAME_BYTES)

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


@dataclass(frozen=True, slots=True)
class _Change:
    """New values (None: deleted) of names, and the items that may still come again."""

    number: int
    values: dict[str, int | None]
    waits_for: set[Key]


class Draft(MutableMapping[str, int]):
    """The entries of ``memory`` whose names begin with ``prefix``; changes become final item by item, each when its
    item will not come again.

    A part that is restarted takes in again all items that were not done with. Its memory must be as it was before the
    first of these. Otherwise it would hold the future of the items: a tracker would look for people where they are only
    going to be.
    """

    def __init__(self, memory: MutableMapping[str, int], prefix: str = "") -> None:
        self._prefix = prefix
        self._now = dict(Section(memory, prefix))
        self._stored = set(self._now)
        self._changed: dict[str, int | None] = {}
        self._drafts: dict[Key, list[_Change]] = {}
        self._count = 0
        self._written_at: dict[str, int] = {}

    def mark(self, keys: Sequence[Key]) -> None:
        """All changes since the last mark were made while the items ``keys`` were processed together."""
        if self._changed:
            self._count += 1
            change = _Change(self._count, self._changed, set(keys))
            for key in change.waits_for:
                self._drafts.setdefault(key, []).append(change)
            self._changed = {}

    def commit(self, keys: Iterable[Key]) -> dict[str, int | None]:
        """These items will not come again: return what is to be stored of the changes that were made with them.

        A change that a later one has overtaken is left out. What several items changed together becomes final with the
        last of them.
        """
        changes: dict[str, int | None] = {}
        for key in keys:
            for change in self._drafts.pop(key, ()):
                change.waits_for.discard(key)
                if not change.waits_for:
                    self._finish(change, changes)
        if not self._drafts:  # or it would grow with names that come and go
            self._written_at.clear()
        return {self._prefix + name: value for name, value in changes.items() if self._is_stored(name, value)}

    def _finish(self, change: _Change, changes: dict[str, int | None]) -> None:
        for name, value in change.values.items():
            if self._written_at.get(name, 0) < change.number:
                self._written_at[name] = change.number
                changes[name] = value

    def _is_stored(self, name: str, value: int | None) -> bool:
        """Take note of what will be in the file; False for the deletion of what never was."""
        was_stored = name in self._stored
        self._stored.discard(name) if value is None else self._stored.add(name)
        return value is not None or was_stored

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


def _check(name: str, value: int) -> int:
    if not _MIN <= value <= _MAX:
        raise PosestreamError(f"memory {name!r}: {value} does not fit 64 bits; keep a smaller number")
    return value


@lru_cache(_SLOTS)
def _encode(name: str) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) <= _NAME_BYTES or b"\0" in encoded:
        raise PosestreamError(f"memory name {name!r} must have 1 to {_NAME_BYTES} bytes; choose a shorter one")
    return encoded.ljust(_NAME_BYTES, b"\0")


def _encode_slot(name: str, value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder, signed=True) + _encode(name)


def _map_file(path: Path, *, is_new: bool) -> tuple[mmap.mmap, FileIdentity]:
    """A file, made if it may be new, and which one it is."""
    size = _FILE_BYTES
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if is_new else 0), 0o600)
    except OSError as error:
        raise TransportError(f"memory {path} cannot be opened: {error.strerror}; check the run directory") from error
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):  # or a full disk would be a bus error at any time, which kills the process
            os.posix_fallocate(descriptor, 0, size)
        found = os.fstat(descriptor)
        return mmap.mmap(descriptor, size), (found.st_dev, found.st_ino)
    except OSError as error:
        is_limited = error.errno == errno.EFBIG
        remedy = "raise the limit of file sizes (ulimit -f)" if is_limited else "make room on its disk"
        raise TransportError(f"memory {path} needs {size:,} bytes: {error.strerror}; {remedy}") from error
    finally:
        os.close(descriptor)
