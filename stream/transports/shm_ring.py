"""Pixels by reference: a ring of slots in shared memory with one writing process and any number of readers.

The owner (:class:`FrameRing`) allocates a slot to write into, passes on a :class:`stream.transports.wire.FrameRef` to
it, and reuses the slot only after the frame was released, that is, acknowledged from the end of the header. Every slot
has a generation, odd while it is written: a reader (:class:`FrameReader`) that checks it after use detects whether the
pixels were overwritten. That happens only if an owner was killed.

A segment begins with a page that identifies it and a header per slot: generation, camera, seq and a flag for "held". A
restarted owner attaches its former segment and finds the frames that are still in flight. A change of resolution makes
a new segment; the old one is removed when none of its frames is in flight. A mapping lives as long as any array on it,
so unlinking a segment does not affect readers, except those that are restarted: they find it by its name.
:meth:`FrameRing.restore` creates what has lost its name anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
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
from stream.transports.shm_segment import segment_prefix, sweep, unlink_all
from stream.transports.wire_schema import MAX_SIDE_PX, FrameRef

__all__ = ["FrameReader", "FrameRing", "segment_prefix", "sweep", "unlink_all"]

_logger = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]

_MAGIC = b"posering"
_TITLE = struct.Struct("<8sIIII")  # magic, layout version, slots, height, width
_LAYOUT = 1
_PAGE = 4096
_GENERATION, _CAMERA, _SEQ, _HELD = range(4)
_HEADER_FIELDS = 8  # of 8 bytes each: one cache line per slot, so that no two slots share one


class _Segment:
    """A mapped segment: the headers and pixels of its slots."""

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
    def create(cls, name: str, slots: int, shape: Shape, owner: str) -> _Segment:
        memory = shm_segment.create(name, _pixels_offset(slots) + slots * _stride(shape), owner)
        memory[: _TITLE.size] = _TITLE.pack(_MAGIC, _LAYOUT, slots, shape[0], shape[1])
        return cls(name, memory)

    @classmethod
    def attach(cls, name: str, *, writable: bool = False) -> _Segment:
        return cls(name, shm_segment.attach(name, writable=writable))

    def copy(self, owner: str) -> _Segment:
        """Create a segment of the same name and content; this one has lost its name."""
        with contextlib.suppress(OSError):  # what cannot be removed is named by the error below
            shm_segment.unlink(self.name)
        memory = shm_segment.create(self.name, len(self._memory), owner)
        memory[:] = self._memory
        return _Segment(self.name, memory)

    @property
    def is_named(self) -> bool:
        """False once its file was removed, or replaced by another."""
        return shm_segment.identify(self.name) == self._file

    def pixels(self, slot: int) -> Pixels:
        """A new view of a slot's pixels."""
        return self._slots[slot].view()

    def generation(self, slot: int) -> int:
        return self.headers[slot][_GENERATION]

    def ref(self, slot: int) -> FrameRef:
        return FrameRef(self.name, slot, self.generation(slot), self.shape)


class FrameRing:
    """The writing end: slots for the frames that a source has in flight. Not thread-safe.

    ``owner`` is the name of the writing part, the same after a restart. With two more ``slots`` than frames in flight,
    a slot is always free. ``spilled`` counts the frames for which none was.
    """

    def __init__(self, run_id: str, owner: str, slots: int) -> None:
        self.slots = slots
        self.spilled = 0
        self._who = f"frame ring of {owner}"
        self._prefix = f"{segment_prefix(run_id)}{shm_segment.sanitise(owner)}-"
        former = (_attach_former(name) for name in shm_segment.find_names(self._prefix))
        self._rings = [_Ring(segment) for segment in former if segment is not None]

    def allocate(self, shape: Shape) -> Pixels:
        """Allocate a writable (H, W, 3) uint8 array for the next frame, in a slot that no frame in flight uses.

        If no slot is free, the array is in plain memory and :meth:`reference` returns None for it. The slot is reused
        when this array is deleted (a view of it does not count: keep the array) and its frame, if referenced, is
        released. Raises :class:`TransportError` if there is no room for a ring of this shape.
        """
        pixels = self._get_ring(shape).allocate()
        if pixels is None:
            self.spilled += 1
            return np.empty(shape, np.uint8)
        return pixels

    def reference(self, frame: Frame) -> FrameRef | None:
        """Return the reference to the frame's pixels for other processes; None if they are not in this ring.

        After the first call the slot is read-only, and held for the frame until :meth:`release`.
        """
        for ring in self._rings:
            ref = ring.hold(frame)
            if ref is not None:
                return ref
        return None

    def release(self, key: Key) -> None:
        """Release the slot of a frame that no process needs any more. A frame that is not in the ring is ignored."""
        for ring in self._rings:
            ring.release(key)
        self._remove_old()

    def restore(self) -> None:
        """Create anew the segments whose files were removed, as systemd does at a user's last logout, or replaced.

        A restarted reader finds the frames in flight in the copy. Later frames are in a new segment, since other
        readers still have the former one mapped under the old name.
        """
        for ring in self._rings:
            if not ring.is_named:
                ring.restore(self._who)
                _logger.warning(
                    "%s: shared memory %s was removed by another program and is created anew; if that happens when you "
                    "log out, run 'loginctl enable-linger'",
                    self._who,
                    ring.name,
                )

    @property
    def in_flight(self) -> int:
        """The number of slots held for frames in flight."""
        return sum(ring.held for ring in self._rings)

    def close(self) -> None:
        """Unlink the segments; readers keep their mappings. Idempotent. Do not call it before a restart."""
        for ring in self._rings:
            shm_segment.unlink(ring.name)
        self._rings = []

    def _get_ring(self, shape: Shape) -> _Ring:
        newest = self._rings[-1] if self._rings else None
        if newest is None or newest.is_copy or newest.layout != (self.slots, shape):
            newest = self._make(shape)
            self._rings.append(newest)
            self._remove_old()
        return newest

    def _make(self, shape: Shape) -> _Ring:
        if tuple(shape[2:]) != (3,) or not all(0 < side <= MAX_SIDE_PX for side in shape):
            raise TransportError(f"{self._who}: a frame of {shape} is not (H, W, 3) up to {MAX_SIDE_PX}")
        # Named by the clock: names sort by age, and a name that was used before may still be mapped.
        name = f"{self._prefix}{time.time_ns():016x}"
        return _Ring(_Segment.create(name, self.slots, shape, self._who))

    def _remove_old(self) -> None:
        """Remove rings of former shapes without frames in flight."""
        for ring in [ring for ring in self._rings[:-1] if not ring.is_busy]:
            shm_segment.unlink(ring.name)
            self._rings.remove(ring)


class _Ring:
    """A segment on its owner's side: which slots are in use."""

    def __init__(self, segment: _Segment) -> None:
        self._segment = segment
        self._allocated: dict[int, weakref.ref[Pixels]] = {}
        self._inherited = {slot for slot, header in enumerate(segment.headers) if header[_HELD]}
        self.is_copy = False
        """True when the segment is a copy of the one that readers have mapped; nothing may be written to it."""

    def restore(self, owner: str) -> None:
        """Exchange the segment, which has lost its name, for a copy."""
        self._segment, self.is_copy = self._segment.copy(owner), True

    @property
    def name(self) -> str:
        return self._segment.name

    @property
    def is_named(self) -> bool:
        return self._segment.is_named

    @property
    def layout(self) -> tuple[int, Shape]:
        return self._segment.slots, self._segment.shape

    @property
    def held(self) -> int:
        return sum(header[_HELD] for header in self._segment.headers)

    @property
    def is_busy(self) -> bool:
        return bool(self.held) or any(ref() is not None for ref in self._allocated.values())

    def allocate(self) -> Pixels | None:
        """Allocate a slot and mark it as being written; None if all are in use."""
        slot = self._find_free()
        if slot is None:
            return None
        header = self._segment.headers[slot]
        header[_GENERATION] += 1 + header[_GENERATION] % 2  # to odd; a slot left odd by a killed owner stays odd
        header[_HELD] = 0
        self._inherited.discard(slot)
        pixels = self._segment.pixels(slot)
        self._allocated[slot] = weakref.ref(pixels)
        return pixels

    def _find_free(self) -> int | None:
        # The first free slot, not the next in turn: its memory is most likely in the processor's cache.
        headers = enumerate(self._segment.headers)
        free = next((slot for slot, header in headers if not header[_HELD] and self._get_array(slot) is None), None)
        if free is None and self._inherited:
            # Frames from before a restart that are never acknowledged would block the ring: drop the oldest.
            return min(self._inherited, key=lambda slot: self._segment.headers[slot][_SEQ])
        return free

    def _get_array(self, slot: int) -> Pixels | None:
        array = self._allocated.get(slot)
        return array() if array is not None else None

    def hold(self, frame: Frame) -> FrameRef | None:
        """Seal the slot of these pixels and hold it for the frame; None if they are in no slot."""
        slot = self._find_slot(frame.pixels)
        if slot is None:
            return None
        inherited = self._find_inherited(frame.key) if self._inherited else None
        if inherited is not None:
            return self._segment.ref(inherited)
        return self._segment.ref(slot) if self._seal(slot, frame) else None

    def _find_slot(self, pixels: Pixels) -> int | None:
        for slot, array in self._allocated.items():
            if array() is pixels:
                return slot
        return None

    def _find_inherited(self, key: Key) -> int | None:
        """The slot with the same frame from before a restart, which readers may still use."""
        return next((slot for slot in self._inherited if self._holds(slot, key)), None)

    def _seal(self, slot: int, frame: Frame) -> bool:
        """Hold the slot for this frame; False if another frame with the same pixels holds it."""
        header = self._segment.headers[slot]
        if header[_HELD]:
            return self._holds(slot, frame.key)
        if self.is_copy:
            return False  # these pixels are not in the copy
        frame.pixels.setflags(write=False)
        header[_CAMERA], header[_SEQ] = _digest(frame.camera), frame.seq
        header[_GENERATION] += header[_GENERATION] % 2
        header[_HELD] = 1
        return True

    def release(self, key: Key) -> None:
        for slot in range(self._segment.slots):
            if self._holds(slot, key):
                self._segment.headers[slot][_HELD] = 0
                self._inherited.discard(slot)

    def _holds(self, slot: int, key: Key) -> bool:
        header = self._segment.headers[slot]
        return bool(header[_HELD]) and header[_SEQ] == key[1] and header[_CAMERA] == _digest(key[0])


class FrameReader:
    """The reading end: pixels for references, from any number of rings."""

    def __init__(self) -> None:
        self._segments: dict[str, _Segment] = {}
        self._refs: dict[int, tuple[weakref.ref[Pixels], FrameRef]] = {}

    def resolve(self, ref: FrameRef) -> Pixels:
        """Return the pixels, (H, W, 3) uint8: a read-only view, mapped as long as it exists. :meth:`check` it after
        use.

        Raises :class:`StaleFrame` if the slot was overwritten, :class:`TransportError` if there is no such slot.
        """
        segment = self._get_segment(ref)
        self._compare(segment, ref)
        pixels = segment.pixels(ref.slot)
        pixels.setflags(write=False)
        self._register(pixels, ref)
        return pixels

    def check(self, ref: FrameRef) -> None:
        """Raise :class:`StaleFrame` if the referenced pixels were overwritten."""
        self._compare(self._get_segment(ref), ref)

    def check_frame(self, frame: Frame) -> None:
        """Check the pixels of a frame; pixels that do not come from :meth:`resolve` cannot be stale."""
        ref = self.reference(frame)
        if ref is not None:
            self.check(ref)

    def reference(self, frame: Frame) -> FrameRef | None:
        """The reference of the frame's pixels, to pass it on; None if they do not come from :meth:`resolve`."""
        pixels, ref = self._refs.get(id(frame.pixels), (_nothing, None))
        return ref if pixels() is frame.pixels else None

    def close(self) -> None:
        """Release all rings; a mapping ends with its last array. Idempotent."""
        self._segments.clear()
        self._refs.clear()

    def _get_segment(self, ref: FrameRef) -> _Segment:
        segment = self._segments.get(ref.ring) or self._attach(ref.ring)
        if ref.slot >= segment.slots or ref.shape != segment.shape:
            raise TransportError(
                f"ring {ref.ring} has {segment.slots} slots of {segment.shape}, not slot {ref.slot} of {ref.shape}"
            )
        return segment

    def _attach(self, name: str) -> _Segment:
        segment = _Segment.attach(name)
        # A new ring often replaces an old one, so release the rings that were unlinked.
        used = {ref.ring for _, ref in self._refs.values()}
        self._segments = {k: one for k, one in self._segments.items() if k in used or shm_segment.exists(k)}
        self._segments[name] = segment
        return segment

    def _compare(self, segment: _Segment, ref: FrameRef) -> None:
        generation = segment.generation(ref.slot)
        if generation != ref.generation:
            raise StaleFrame(
                f"slot {ref.slot} of ring {ref.ring} is at generation {generation}, not {ref.generation}: "
                "its owner was restarted and overwrote it"
            )

    def _register(self, pixels: Pixels, ref: FrameRef) -> None:
        number = id(pixels)
        self._refs[number] = (weakref.ref(pixels, _make_callback(self._refs, number)), ref)


def _make_callback(refs: dict[int, tuple[weakref.ref[Pixels], FrameRef]], number: int) -> Callable[[object], None]:
    return lambda _dead: refs.pop(number, None) and None


def _nothing() -> None:
    return None


def _attach_former(name: str) -> _Segment | None:
    """Attach a segment from before a restart; an invalid or incomplete one is removed."""
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


@functools.lru_cache(maxsize=256)
def _digest(camera: str) -> int:
    return int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=8).digest(), "little")
