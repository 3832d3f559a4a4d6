"""Follows the boxes of an MP4 in fragments, which has no table of all packets: where they are damaged, FFmpeg goes on
at the next fragment, or ends, without an error, and the frames in between are lost."""

from __future__ import annotations

import os
from pathlib import Path

_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 16
_NUMBER_AT, _NUMBER_BYTES = 20, 4
"""Of a fragment's number in ``moof``: its first box is ``mfhd``, whose head, version and flags come before."""


class FragmentWalk:
    """Walks from box to box (ISO/IEC 14496-12) behind a ``moov`` that announces fragments; other files are sound here.

    A recording that was broken off is no damage: its last box may be cut. ``missing`` counts the numbers that fragments
    leave out; that is no error, since the standard wants numbers to increase, not to be consecutive.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._length = path.stat().st_size
        self._position = 0
        self._last: int | None = None
        self._is_fragmented = self._is_ended = self._is_damaged = False
        self.missing = 0
        self.is_reported = False

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def is_sound(self, until: int | None = None) -> bool:
        """False if there is damage before the byte ``until``, where FFmpeg has found a packet; by default, anywhere."""
        while not self._is_damaged and not self._is_ended and (until is None or self._position < until):
            self._step()
        return not self._is_damaged

    def _step(self) -> None:
        """Go to the next box."""
        head = os.pread(self._file.fileno(), _LONG_HEAD_BYTES, self._position)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if len(head) < _HEAD_BYTES or (size == 0 and kind == b"mdat"):  # it goes on to the end
            self._is_ended = True
        elif size < _HEAD_BYTES or not kind.isalnum():
            self._is_ended, self._is_damaged = True, self._is_fragmented
        elif self._position + size > self._length:
            self._is_ended = True
        else:
            self._enter(kind, size)
            self._position += size

    def _enter(self, kind: bytes, size: int) -> None:
        """Take what is needed of a box."""
        if kind == b"moov":
            self._is_fragmented = b"mvex" in os.pread(self._file.fileno(), size, self._position)
            self._is_ended = not self._is_fragmented
        elif kind == b"moof":
            number = int.from_bytes(os.pread(self._file.fileno(), _NUMBER_BYTES, self._position + _NUMBER_AT), "big")
            self.missing += max(0, number - self._last - 1) if self._last is not None else 0
            self._last = number
