"""Follows the tags of an FLV file: where one is damaged, FFmpeg goes on at the next one without an error, and its frame
is lost."""

from __future__ import annotations

from pathlib import Path

from stream.capture.structure_walk import StructureWalk

_AUDIO, _VIDEO, _SCRIPT = 8, 9, 18
_TYPE_MASK = 0x1F
"""The other bits say that a tag is encrypted."""

_BEGIN_AT = 5
"""Of the size of the file's header, in it."""

_HEAD_BYTES, _SIZE_BYTES = 11, 4
_CODEC_MASK = 0x0F


class FlvWalk(StructureWalk):
    """Walks from tag to tag (Adobe's specification of FLV 10.1, appendix E), each of which is followed by its size.

    Sizes are compared if that of the first tag is right, since some writers leave them out.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._position = int.from_bytes(self._read(4, at=_BEGIN_AT), "big") + _SIZE_BYTES
        self._has_sizes: bool | None = None
        self._codec: int | None = None

    def is_sound(self, until: int | None = None) -> bool:
        super().is_sound(until)
        self._is_damaged |= until is not None and self._position > until
        return not self._is_damaged

    def _step(self) -> None:
        head = self._read(_HEAD_BYTES + 1, at=self._position)
        if not head:
            self._is_ended = True
            return
        kind, size = head[0] & _TYPE_MASK, int.from_bytes(head[1:4], "big")
        end = self._position + _HEAD_BYTES + size
        stated = int.from_bytes(self._read(_SIZE_BYTES, at=end), "big")
        is_stated = stated == _HEAD_BYTES + size
        self._has_sizes = is_stated if self._has_sizes is None else self._has_sizes
        codec = head[_HEAD_BYTES:] if kind == _VIDEO and size else b""
        if codec and self._codec is None:
            self._codec = codec[0] & _CODEC_MASK
        is_known = kind in (_AUDIO, _VIDEO, _SCRIPT) and (not codec or codec[0] & _CODEC_MASK == self._codec)
        is_whole = end <= self._length and (is_stated or not self._has_sizes)
        self._is_damaged = not (is_known and is_whole)
        self._position = end + _SIZE_BYTES
