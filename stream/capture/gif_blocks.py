"""Follows the blocks of a GIF: where they are damaged, FFmpeg goes on at the next place that looks like an image,
without an error, and the images in between are lost."""

from __future__ import annotations

from pathlib import Path

from stream.capture.structure_walk import StructureWalk

_HEADERS = (b"GIF87a", b"GIF89a")
_SCREEN_BYTES, _IMAGE_BYTES = 13, 10
"""A logical screen descriptor with the header before it, and an image descriptor, which its code size follows."""

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_HAS_COLOURS, _COLOURS_MASK = 0x80, 0x07
_MOST_BITS = 8
"""Of a code to begin with: one of 256 colours."""


class GifWalk(StructureWalk):
    """Walks from block to block (W3C's GIF89a specification), and compares its images with the packets of FFmpeg.

    Writers fill all sub-blocks of an image but the last. If those of the first image are so, the others are to be:
    sub-blocks that are damaged may lead, by random sizes, into those of the next image.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._images = self._packets = 0
        self._is_even: bool | None = None

    def is_sound(self, until: int | None = None) -> bool:
        super().is_sound(until)
        self._is_damaged |= self._images != self._packets
        self._packets += until is not None
        return not self._is_damaged

    def _step(self) -> None:
        head = self._read(_SCREEN_BYTES, at=self._position)
        kind = head[0] if head else None
        if head.startswith(_HEADERS):
            self._position += _SCREEN_BYTES + _count_colour_bytes(head[10:11])
        elif kind == _EXTENSION:
            self._skip(self._position + 2)
        elif kind == _IMAGE:
            self._images += 1
            code_size = self._position + _IMAGE_BYTES + _count_colour_bytes(head[9:10])
            self._compare(self._skip(code_size + 1))
            self._is_damaged |= not 0 < (self._read(1, at=code_size) or b"\0")[0] <= _MOST_BITS
        elif kind == _TRAILER:
            self._position += 1
            self._is_ended = not self._read(_SCREEN_BYTES, at=self._position).startswith(_HEADERS)  # others may follow
        else:
            self._is_damaged = True

    def _skip(self, at: int) -> list[int]:
        """Go behind the sub-blocks that begin at a byte, whose sizes it returns; the last one is empty."""
        sizes: list[int] = []
        while size := self._read(1, at=at):
            at += 1 + size[0]
            if not size[0]:
                self._position = at
                return sizes
            sizes.append(size[0])
        self._is_damaged = True
        return sizes

    def _compare(self, sizes: list[int]) -> None:
        """Compare how the sub-blocks of an image are filled with how those of the first were."""
        is_even = len(set(sizes[:-1])) < 2 and sizes[-1:] <= sizes[:1]
        if self._is_even is None and len(sizes) > 2:
            self._is_even = is_even
        self._is_damaged |= not is_even and bool(self._is_even)


def _count_colour_bytes(flags: bytes) -> int:
    """The size of the colour table that a descriptor announces."""
    return 3 << 1 + (flags[0] & _COLOURS_MASK) if flags and flags[0] & _HAS_COLOURS else 0
