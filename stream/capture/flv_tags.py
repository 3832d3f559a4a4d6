"""Follows the tags of an FLV file: where one is damaged, FFmpeg goes on at the next one without an error, and its frame
is lost."""

from __future__ import annotations

import os
from pathlib import Path

_AUDIO, _VIDEO, _SCRIPT = 8, 9, 18
_TYPE_MASK = 0x1F
"""The other bits say that a tag is encrypted."""

_HEAD_BYTES, _SIZE_BYTES = 11, 4
_CODEC_MASK = 0x0F


class FlvWalk:
    """Walks from tag to tag (Adobe's specification of FLV 10.1, appendix E), each of which is followed by its size.

    Sizes are compared if that of the first tag is right, since some writers leave them out.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._length = path.stat().st_size
        begin = int.from_bytes(os.pread(self._file.fileno(), 4, 5), "big")
        self._position = begin + _SIZE_BYTES
        self._has_sizes: bool | None = None
        self._codec: int | None = None
        self._is_ended = self._is_damaged = False
        self.is_reported = False

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def is_sound(self, until: int | None = None) -> bool:
        """False if there is damage before the byte ``until``, where FFmpeg has found a packet; by default, anywhere."""
        while not self._is_damaged and not self._is_ended and (until is None or self._position < until):
            self._step()
        self._is_damaged |= until is not None and self._position > until
        return not self._is_damaged

    def _step(self) -> None:
        """Go to the next tag."""
        head = os.pread(self._file.fileno(), _HEAD_BYTES + 1, self._position)
        if not head:
            self._is_ended = True
            return
        kind, size = head[0] & _TYPE_MASK, int.from_bytes(head[1:4], "big")
        end = self._position + _HEAD_BYTES + size
        stated = int.from_bytes(os.pread(self._file.fileno(), _SIZE_BYTES, end), "big")
        is_stated = stated == _HEAD_BYTES + size
        self._has_sizes = is_stated if self._has_sizes is None else self._has_sizes
        codec = head[_HEAD_BYTES:] if kind == _VIDEO and size else b""
        if codec and self._codec is None:
            self._codec = codec[0] & _CODEC_MASK
        is_known = kind in (_AUDIO, _VIDEO, _SCRIPT) and (not codec or codec[0] & _CODEC_MASK == self._codec)
        is_whole = end <= self._length and (is_stated or not self._has_sizes)
        self._is_damaged = not (is_known and is_whole)
        self._position = end + _SIZE_BYTES
