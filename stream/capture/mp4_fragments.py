"""Follows the boxes of an MP4 in fragments, which has no table of all packets: where they are damaged, FFmpeg goes on
at the next fragment, or ends, without an error, and the frames in between are lost."""

from __future__ import annotations

from pathlib import Path

from stream.capture.structure_walk import StructureWalk

_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 16
_NUMBER_AT, _NUMBER_BYTES = 20, 4
"""Of a fragment's number in ``moof``: its first box is ``mfhd``, whose head, version and flags come before."""


class FragmentWalk(StructureWalk):
    """Walks from box to box (ISO/IEC 14496-12) behind a ``moov`` that announces fragments; other files are sound here.

    A recording that was broken off is no damage: its last box may be cut. ``missing`` counts the numbers that fragments
    leave out; that is no error, since the standard wants numbers to increase, not to be consecutive.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._last: int | None = None
        self._is_fragmented = False

    def _step(self) -> None:
        head = self._read(_LONG_HEAD_BYTES, at=self._position)
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
            self._is_fragmented = b"mvex" in self._read(size, at=self._position)
            self._is_ended = not self._is_fragmented
        elif kind == b"moof":
            number = int.from_bytes(self._read(_NUMBER_BYTES, at=self._position + _NUMBER_AT), "big")
            self.missing += max(0, number - self._last - 1) if self._last is not None else 0
            self._last = number
