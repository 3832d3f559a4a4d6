"""A segment of shared memory that holds pictures: a page that identifies it, a header per slot, and the pixels.

A header has the generation of the slot, the camera and number of its frame, and a flag for "held".
"""

from __future__ import annotations

import mmap
import struct

import numpy as np
from numpy.typing import NDArray

from stream.errors import TransportError
from stream.transports import shm_segment
from stream.transports.wire_schema import FrameRef

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]

_MAGIC = b"posering"
_TITLE = struct.Struct("<8sIIII")  # magic, layout version, slots, height, width
_LAYOUT = 1
_PAGE = 4096
GENERATION, CAMERA, SEQ, HELD = range(4)
_HEADER_FIELDS = 8  # of 8 bytes each: one cache line per slot, so that no two slots share one


class FrameSegment:
    """A mapped segment of ``slots`` pictures of one ``shape``: the headers and pixels of its slots."""

    def __init__(self, name: str, memory: mmap.mmap) -> None:
        self.name, self._memory = name, memory
        self._file = shm_segment.identify(name)
        self.slots, self.shape = _read_title(name, memory)
        start, stride = _pixels_offset(self.slots), _stride(self.shape)
        # Memory views, since numpy takes ten times as long to read one number.
        headers = memoryview(memory)[_PAGE : _PAGE + self.slots * _HEADER_FIELDS * 8].cast("Q")
        self.headers = [headers[slot * _HEADER_FIELDS : (slot + 1) * _HEADER_FIELDS] for slot in range(self.slots)]
        whole = np.frombuffer(memory, np.uint8, self.slots * stride, start).reshape(self.slots, stride)
        self._slots = [pixels[: _byte_size(self.shape)].reshape(self.shape) for pixels in whole]

    @classmethod
    def create(cls, name: str, slots: int, shape: Shape, owner: str) -> FrameSegment:
        memory = shm_segment.create(name, _pixels_offset(slots) + slots * _stride(shape), owner)
        memory[: _TITLE.size] = _TITLE.pack(_MAGIC, _LAYOUT, slots, shape[0], shape[1])
        return cls(name, memory)

    @classmethod
    def attach(cls, name: str, *, writable: bool = False) -> FrameSegment:
        return cls(name, shm_segment.attach(name, writable=writable))

    def copy(self, owner: str) -> FrameSegment:
        """Create a segment of the same name and content; this one has lost its name."""
        beside = f"{self.name}.copy"  # a reader that attaches the name finds all of the content
        shm_segment.unlink(beside)
        memory = shm_segment.create(beside, len(self._memory), owner)
        memory[:] = self._memory
        shm_segment.rename(beside, self.name, owner)
        return FrameSegment(self.name, memory)

    @property
    def is_named(self) -> bool:
        """False once its file was removed, or replaced by another."""
        return self._file is not None and shm_segment.identify(self.name) == self._file

    def pixels(self, slot: int) -> Pixels:
        """A new view of a slot's pixels."""
        return self._slots[slot].view()

    def generation(self, slot: int) -> int:
        return self.headers[slot][GENERATION]

    def ref(self, slot: int) -> FrameRef:
        return FrameRef(self.name, slot, self.generation(slot), self.shape)


def _read_title(name: str, memory: mmap.mmap) -> tuple[int, Shape]:
    if len(memory) < _PAGE:
        raise TransportError(f"shared memory {name} is not a frame ring: it has {len(memory)} bytes")
    magic, layout, slots, height, width = _TITLE.unpack_from(memory)
    shape = (int(height), int(width), 3)
    if magic != _MAGIC or layout != _LAYOUT or len(memory) != _pixels_offset(slots) + slots * _stride(shape):
        raise TransportError(f"shared memory {name} is not a frame ring of this version; stop the program that made it")
    return int(slots), shape


def _byte_size(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _stride(shape: Shape) -> int:
    return _round_to_pages(_byte_size(shape))


def _pixels_offset(slots: int) -> int:
    return _PAGE + _round_to_pages(slots * _HEADER_FIELDS * 8)


def _round_to_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE
