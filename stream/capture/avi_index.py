"""Compares the packets of an AVI with its index: where they are damaged, FFmpeg goes on at the next one without an
error, and the frames in between are lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_HEAD_BYTES, _LIST_BYTES = 8, 12
"""A chunk begins with its name and size, a list of chunks with its kind as well; FFmpeg's index has where a chunk
begins, and a packet where its content does."""

_LISTS = (b"RIFF", b"LIST")


class AviIndex:
    """The packets of a video ``stream`` in the file ``path`` that was just opened, by the index at the end of the file.

    An entry that is damaged itself is no damage here, and neither is an index that is missing: the frames are there.
    """

    def __init__(self, path: Path, stream: Any) -> None:
        self._file = path.open("rb", buffering=0)
        begins = [entry.pos for entry in stream.index_entries if entry.size]  # an empty one repeats the picture
        self._numbers = {begin + _HEAD_BYTES: number for number, begin in enumerate(begins)}
        self._next = self._position = 0
        self._is_damaged = False

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def is_sound(self, until: int | None = None) -> bool:
        """False if a packet is missing before the next one, which FFmpeg has found at the byte ``until``; None at the
        end of the file."""
        if until is None:
            self._is_damaged |= len(self._numbers) > self._next
            return not self._is_damaged
        number = self._numbers.get(until)
        if number is None:  # its entry is damaged, or it is another packet, behind a hole
            self._is_damaged |= bool(self._numbers) and not self._leads_to(until)
            number = self._next
        self._is_damaged |= number > self._next
        self._next, self._position = number + 1, until - _HEAD_BYTES
        return not self._is_damaged

    def _leads_to(self, until: int) -> bool:
        """True if the chunks behind the last packet lead to the one at the byte ``until``."""
        while 0 < self._position < until - _HEAD_BYTES:
            head = os.pread(self._file.fileno(), _HEAD_BYTES, self._position)
            if not head[:4].isalnum():  # no name of a chunk
                return False
            size = int.from_bytes(head[4:], "little")
            self._position += _LIST_BYTES if head[:4] in _LISTS else _HEAD_BYTES + size + size % 2
        return self._position <= until - _HEAD_BYTES
