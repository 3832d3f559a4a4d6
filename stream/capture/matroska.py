"""Follows the elements of a Matroska file: where they are damaged, FFmpeg goes on at the next cluster, or ends, without
an error, and with it all frames in between are lost."""

from __future__ import annotations

from pathlib import Path

from stream.capture.structure_walk import StructureWalk

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_MAX_ID_BYTES, _MAX_SIZE_BYTES = 4, 8
_HEAD_BYTES = _MAX_ID_BYTES + _MAX_SIZE_BYTES


class MatroskaWalk(StructureWalk):
    """Walks from element to element (RFC 8794), into segments and clusters and over all others.

    A file that is too short for its segment, and a recording that was broken off, whose segment has no size, are no
    damage here: their last element may be cut.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._segment_end: int | None = None
        self._is_stuck = False

    def is_sound(self, until: int | None = None) -> bool:
        super().is_sound(until)
        # What FFmpeg finds behind an element that goes beyond the end shows that the element is wrong.
        self._is_damaged |= self._is_stuck and until is not None and until > self._position
        return not self._is_damaged

    @property
    def _is_whole(self) -> bool:
        return self._segment_end is not None and self._segment_end <= self._length

    def _step(self) -> None:
        head = self._read(_HEAD_BYTES, at=self._position)
        id_bytes = _vint_length(head[:1])
        size_bytes = _vint_length(head[id_bytes : id_bytes + 1])
        name = int.from_bytes(head[:id_bytes], "big")
        is_behind = self._segment_end is not None and self._position >= self._segment_end
        if not head or (is_behind and name != _EBML):  # another file may follow
            self._is_ended = True
            return
        body = self._position + id_bytes + size_bytes
        if id_bytes > _MAX_ID_BYTES or size_bytes > _MAX_SIZE_BYTES:
            self._is_stuck = self._is_ended = True
            self._is_damaged = len(head) == _HEAD_BYTES or self._is_whole
            return
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & (1 << 7 * size_bytes) - 1
        is_unknown = size == (1 << 7 * size_bytes) - 1
        if name == _SEGMENT:
            self._segment_end = None if is_unknown else body + size
            self._position = body
        elif name == _CLUSTER:
            self._position = body
        elif is_unknown or body + size > self._length:
            self._is_stuck = self._is_ended = True
            self._is_damaged = is_unknown or self._is_whole
        else:
            self._position = body + size


def _vint_length(first: bytes) -> int:
    """The length of a number by its first byte; 9 for none."""
    return 9 - first[0].bit_length() if first else 9
