"""Pixels by reference: a ring of slots in shared memory that one process writes and any number of others read.

The owner (:class:`FrameRing`) lends a slot to write into, gives out a :class:`stream.transports.wire.FrameRef` to it,
and lends the slot again only when the frame was released, that is, acknowledged from the end of the line. Every slot
has a generation, odd while it is written: a reader (:class:`FrameReader`) that looks again after use sees whether the
pixels stayed what they were. The generation is a safety net, not the rule: it catches what happens when an owner was
killed.

A segment begins with a page that says what it is, and a line a slot: generation, camera, seq and whether it is held.
An owner that is restarted attaches its former segment and finds there what is still in flight. A change of resolution
makes a new segment; the old one goes when none of its frames is in flight any more. A mapping lives as long as any
array on it, so unlinking a segment never takes pixels from under a reader.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import struct
import time
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream.errors import StaleFrame, TransportError
from stream.messages import Frame, Key
from stream.transports import shm_segment
from stream.transports.shm_segment import prefix_of, sweep, unlink_all
from stream.transports.wire_schema import MAX_SIDE_PX, FrameRef

__all__ = ["FrameReader", "FrameRing", "prefix_of", "sweep", "unlink_all"]

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]

_MAGIC = b"posering"
_TITLE = struct.Struct("<8sIIII")  # magic, layout version, slots, height, width
_LAYOUT = 1
_PAGE = 4096
_GENERATION, _CAMERA, _SEQ, _HELD = range(4)
_LINE = 8  # fields of 8 bytes a slot: one cache line, so that no two slots share one


class _Segment:
    """One mapped segment: its slots' lines and their pixels."""

    def __init__(self, name: str, memory: mmap.mmap) -> None:
        self.name = name
        self.slots, self.shape = _read_title(name, memory)
        start, stride = _pixels_offset(self.slots), _stride(self.shape)
        # Memory views, since numpy takes ten times as long for a single number.
        lines = memoryview(memory)[_PAGE : _PAGE + self.slots * _LINE * 8].cast("Q")
        self.lines = [lines[slot * _LINE : (slot + 1) * _LINE] for slot in range(self.slots)]
        whole = np.frombuffer(memory, np.uint8, self.slots * stride, start).reshape(self.slots, stride)
        self._slots = [pixels[: _size(self.shape)].reshape(self.shape) for pixels in whole]

    @classmethod
    def create(cls, name: str, slots: int, shape: Shape, who: str) -> _Segment:
        memory = shm_segment.create(name, _pixels_offset(slots) + slots * _stride(shape), who)
        memory[: _TITLE.size] = _TITLE.pack(_MAGIC, _LAYOUT, slots, shape[0], shape[1])
        return cls(name, memory)

    @classmethod
    def attach(cls, name: str, *, writable: bool = False) -> _Segment:
        return cls(name, shm_segment.attach(name, writable=writable))

    def pixels(self, slot: int) -> Pixels:
        """A fresh view on a slot's pixels."""
        return self._slots[slot].view()

    def generation(self, slot: int) -> int:
        return self.lines[slot][_GENERATION]

    def ref(self, slot: int) -> FrameRef:
        return FrameRef(self.name, slot, self.generation(slot), self.shape)


class FrameRing:
    """The writing end: slots for the frames that a source has in flight.

    ``owner`` is the name of the part that writes; the same after a restart. With ``slots`` two more than the frames in
    flight there is always one to write into. ``spilled`` counts the frames for which no slot was free. Not for several
    threads.
    """

    def __init__(self, run_id: str, owner: str, slots: int) -> None:
        self.slots = slots
        self.spilled = 0
        self._owner = owner
        self._prefix = f"{prefix_of(run_id)}{shm_segment.clean(owner)}-"
        former = (_former_segment(name) for name in shm_segment.names(self._prefix))
        self._rings = [_Ring(segment) for segment in former if segment is not None]

    def allocate(self, shape: Shape) -> Pixels:
        """A writable (H, W, 3) uint8 array for the next frame, in a slot that no frame in flight uses.

        When there is none, plain memory, which :meth:`reference` then does not know. The slot is lent until this very
        array is gone (a view on it does not count: keep the array) and the frame, if it was referred to, is released.
        Raises :class:`TransportError` when there is no room for a ring of this shape.
        """
        pixels = self._current(shape).lend()
        if pixels is None:
            self.spilled += 1
            return np.empty(shape, np.uint8)
        return pixels

    def reference(self, frame: Frame) -> FrameRef | None:
        """Where the frame's pixels lie, for other processes; None when they are not in this ring.

        From the first call on the slot is written no more, and is held for the frame until :meth:`release`.
        """
        for ring in self._rings:
            ref = ring.hold(frame)
            if ref is not None:
                return ref
        return None

    def release(self, key: Key) -> None:
        """No process needs this frame any more. Does nothing for a frame that is not in the ring."""
        for ring in self._rings:
            ring.release(key)
        self._retire()

    @property
    def in_flight(self) -> int:
        """Slots that are held for frames in flight."""
        return sum(ring.held for ring in self._rings)

    def close(self) -> None:
        """Take away the segments' names; who reads them still can. Idempotent. Not called before a restart."""
        for ring in self._rings:
            shm_segment.unlink(ring.name)
        self._rings = []

    def _current(self, shape: Shape) -> _Ring:
        newest = self._rings[-1] if self._rings else None
        if newest is None or newest.layout != (self.slots, shape):
            newest = self._make(shape)
            self._rings.append(newest)
            self._retire()
        return newest

    def _make(self, shape: Shape) -> _Ring:
        if tuple(shape[2:]) != (3,) or not all(0 < side <= MAX_SIDE_PX for side in shape):
            raise TransportError(
                f"frame ring of {self._owner}: a frame of {shape} is not (H, W, 3) up to {MAX_SIDE_PX}"
            )
        # By the clock, since names sort by age, and one that was used before may still be mapped somewhere.
        name = f"{self._prefix}{time.time_ns():016x}"
        return _Ring(_Segment.create(name, self.slots, shape, f"frame ring of {self._owner}"))

    def _retire(self) -> None:
        """Remove rings of former shapes that have no frame in flight."""
        for ring in [ring for ring in self._rings[:-1] if not ring.is_busy]:
            shm_segment.unlink(ring.name)
            self._rings.remove(ring)


class _Ring:
    """One segment from its owner's side: who uses which slot."""

    def __init__(self, segment: _Segment) -> None:
        self._segment = segment
        self._lent: dict[int, weakref.ref[Pixels]] = {}
        self._inherited = {slot for slot, line in enumerate(segment.lines) if line[_HELD]}

    @property
    def name(self) -> str:
        return self._segment.name

    @property
    def layout(self) -> tuple[int, Shape]:
        return self._segment.slots, self._segment.shape

    @property
    def held(self) -> int:
        return sum(line[_HELD] for line in self._segment.lines)

    @property
    def is_busy(self) -> bool:
        return bool(self.held) or any(ref() is not None for ref in self._lent.values())

    def lend(self) -> Pixels | None:
        """A slot to write into, marked as being written; None when all are in use."""
        slot = self._free()
        if slot is None:
            return None
        line = self._segment.lines[slot]
        line[_GENERATION] += 1 + line[_GENERATION] % 2  # odd from here on; a slot left odd by a killed owner stays odd
        line[_HELD] = 0
        self._inherited.discard(slot)
        pixels = self._segment.pixels(slot)
        self._lent[slot] = weakref.ref(pixels)
        return pixels

    def _free(self) -> int | None:
        # The first that is free, not the next in turn: its memory is the likeliest to be in the processor's cache.
        lines = enumerate(self._segment.lines)
        free = next((slot for slot, line in lines if not line[_HELD] and self._borrower(slot) is None), None)
        if free is None and self._inherited:
            # A former life's frames that were never acknowledged to it would block the ring for ever: the oldest goes.
            return min(self._inherited, key=lambda slot: self._segment.lines[slot][_SEQ])
        return free

    def _borrower(self, slot: int) -> Pixels | None:
        lent = self._lent.get(slot)
        return lent() if lent is not None else None

    def hold(self, frame: Frame) -> FrameRef | None:
        """Seal the slot that holds these pixels and hold it for the frame; None when no slot does."""
        slot = self._slot_of(frame.pixels)
        if slot is None:
            return None
        former = self._former(frame.key) if self._inherited else None
        if former is not None:
            return self._segment.ref(former)
        return self._segment.ref(slot) if self._seal(slot, frame) else None

    def _slot_of(self, pixels: Pixels) -> int | None:
        for slot, lent in self._lent.items():
            if lent() is pixels:
                return slot
        return None

    def _former(self, key: Key) -> int | None:
        """The slot in which a former life of this owner put the very same frame, and which others are still reading."""
        return next((slot for slot in self._inherited if self._holds(slot, key)), None)

    def _seal(self, slot: int, frame: Frame) -> bool:
        """Hold the slot for this frame; False when another frame with the very same pixels holds it already."""
        line = self._segment.lines[slot]
        if line[_HELD]:
            return self._holds(slot, frame.key)
        frame.pixels.setflags(write=False)
        line[_CAMERA], line[_SEQ] = _digest(frame.camera), frame.seq
        line[_GENERATION] += line[_GENERATION] % 2
        line[_HELD] = 1
        return True

    def release(self, key: Key) -> None:
        for slot in range(self._segment.slots):
            if self._holds(slot, key):
                self._segment.lines[slot][_HELD] = 0
                self._inherited.discard(slot)

    def _holds(self, slot: int, key: Key) -> bool:
        line = self._segment.lines[slot]
        return bool(line[_HELD]) and line[_SEQ] == key[1] and line[_CAMERA] == _digest(key[0])


class FrameReader:
    """The reading end: pixels for references, from any number of rings."""

    def __init__(self) -> None:
        self._segments: dict[str, _Segment] = {}
        self._known: dict[int, tuple[weakref.ref[Pixels], FrameRef]] = {}

    def resolve(self, ref: FrameRef) -> Pixels:
        """The pixels, (H, W, 3) uint8, a read-only view that stays mapped while it is used; :meth:`check` afterwards.

        Raises :class:`StaleFrame` when the slot was written again, :class:`TransportError` when there is no such slot.
        """
        segment = self._segment(ref)
        self._compare(segment, ref)
        pixels = segment.pixels(ref.slot)
        pixels.setflags(write=False)
        self._remember(pixels, ref)
        return pixels

    def check(self, ref: FrameRef) -> None:
        """Whether the pixels are still the ones that were referred to. Raises :class:`StaleFrame` when they are not."""
        self._compare(self._segment(ref), ref)

    def check_frame(self, frame: Frame) -> None:
        """The same for a frame whose pixels came from :meth:`resolve`; pixels from elsewhere cannot become stale."""
        ref = self.reference(frame)
        if ref is not None:
            self.check(ref)

    def reference(self, frame: Frame) -> FrameRef | None:
        """The reference that the frame's pixels came from, to pass them on; None when they came from elsewhere."""
        pixels, ref = self._known.get(id(frame.pixels), (_nothing, None))
        return ref if pixels() is frame.pixels else None

    def close(self) -> None:
        """Forget all rings; their memory goes with the last array on it. Idempotent."""
        self._segments.clear()
        self._known.clear()

    def _segment(self, ref: FrameRef) -> _Segment:
        segment = self._segments.get(ref.ring) or self._attach(ref.ring)
        if ref.slot >= segment.slots or ref.shape != segment.shape:
            raise TransportError(
                f"ring {ref.ring} has {segment.slots} slots of {segment.shape}, not slot {ref.slot} of {ref.shape}"
            )
        return segment

    def _attach(self, name: str) -> _Segment:
        segment = _Segment.attach(name)
        # A new ring often replaces an old one, so this is the moment to let go of those that are gone.
        used = {ref.ring for _, ref in self._known.values()}
        self._segments = {k: one for k, one in self._segments.items() if k in used or shm_segment.exists(k)}
        self._segments[name] = segment
        return segment

    def _compare(self, segment: _Segment, ref: FrameRef) -> None:
        generation = segment.generation(ref.slot)
        if generation != ref.generation:
            raise StaleFrame(
                f"slot {ref.slot} of ring {ref.ring} is at generation {generation}, not {ref.generation}: "
                "its owner was restarted and wrote it again"
            )

    def _remember(self, pixels: Pixels, ref: FrameRef) -> None:
        number = id(pixels)
        self._known[number] = (weakref.ref(pixels, _forgetter(self._known, number)), ref)


def _forgetter(known: dict[int, tuple[weakref.ref[Pixels], FrameRef]], number: int) -> Callable[[object], None]:
    return lambda _gone: known.pop(number, None) and None


def _nothing() -> None:
    return None


def _former_segment(name: str) -> _Segment | None:
    """A former life's segment; what is not one, or was left half made, is removed."""
    try:
        return _Segment.attach(name, writable=True)
    except TransportError:
        shm_segment.unlink(name)
        return None


def _read_title(name: str, memory: mmap.mmap) -> tuple[int, Shape]:
    if len(memory) < _PAGE:
        raise TransportError(f"shared memory {name} is not a frame ring: it has {len(memory)} bytes")
    magic, layout, slots, height, width = _TITLE.unpack_from(memory)
    shape = (int(height), int(width), 3)
    if magic != _MAGIC or layout != _LAYOUT or len(memory) != _pixels_offset(slots) + slots * _stride(shape):
        raise TransportError(f"shared memory {name} is not a frame ring of this version; end what made it")
    return int(slots), shape


def _size(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _stride(shape: Shape) -> int:
    return _pages(_size(shape))


def _pixels_offset(slots: int) -> int:
    return _PAGE + _pages(slots * _LINE * 8)


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@functools.lru_cache(maxsize=256)
def _digest(camera: str) -> int:
    return int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=8).digest(), "little")
