"""Pixels by reference: a ring of slots in shared memory with one writing process and any number of readers.

The owner (:class:`FrameRing`) allocates a slot to write into, passes on a :class:`stream.transports.wire.FrameRef` to
it, and reuses the slot only after the frame was released, that is, acknowledged from the end of the line. Every slot
has a generation, odd while it is written: a reader (:class:`FrameReader`) that checks it after use detects whether the
pixels were overwritten. That happens only if an owner was killed.

A restarted owner attaches its former segment and finds the frames that are still in flight. A change of resolution
makes a new segment; the old one is removed when none of its frames is in flight. A mapping lives as long as any array
on it, so unlinking a segment does not affect readers, except those that are restarted: they find it by its name.
:meth:`FrameRing.restore` creates what has lost its name anew.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
import weakref
from collections.abc import Callable

import numpy as np

from stream.errors import ShortageError, StaleFrame, TransportError
from stream.messages import Frame, Key
from stream.transports import shm_segment
from stream.transports.frame_segment import CAMERA, GENERATION, HELD, SEQ, FrameSegment, Pixels, Shape
from stream.transports.shm_segment import segment_prefix
from stream.transports.wire_schema import MAX_SIDE_PX, FrameRef

_logger = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""A loaded machine may stop the owner for so long between the removal of a segment and its next turn."""
_RETRY_S = 0.002


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
            raise TransportError(
                f"{self._who}: a frame of {shape} is not (H, W, 3) up to {MAX_SIDE_PX}; make the picture smaller"
            )
        # Named by the clock: names sort by age, and a name that was used before may still be mapped.
        name = f"{self._prefix}{time.time_ns():016x}"
        return _Ring(FrameSegment.create(name, self.slots, shape, self._who))

    def _remove_old(self) -> None:
        """Remove rings of former shapes without frames in flight."""
        for ring in [ring for ring in self._rings[:-1] if not ring.is_busy]:
            shm_segment.unlink(ring.name)
            self._rings.remove(ring)


class _Ring:
    """A segment on its owner's side: which slots are in use."""

    def __init__(self, segment: FrameSegment) -> None:
        self._segment = segment
        self._allocated: dict[int, weakref.ref[Pixels]] = {}
        self._inherited = {slot for slot, header in enumerate(segment.headers) if header[HELD]}
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
        return sum(header[HELD] for header in self._segment.headers)

    @property
    def is_busy(self) -> bool:
        return bool(self.held) or any(ref() is not None for ref in self._allocated.values())

    def allocate(self) -> Pixels | None:
        """Allocate a slot and mark it as being written; None if all are in use."""
        slot = self._find_free()
        if slot is None:
            return None
        header = self._segment.headers[slot]
        header[GENERATION] += 1 + header[GENERATION] % 2  # to odd; a slot left odd by a killed owner stays odd
        header[HELD] = 0
        self._inherited.discard(slot)
        pixels = self._segment.pixels(slot)
        self._allocated[slot] = weakref.ref(pixels)
        return pixels

    def _find_free(self) -> int | None:
        # The first free slot, not the next in turn: its memory is most likely in the processor's cache.
        headers = enumerate(self._segment.headers)
        free = next((slot for slot, header in headers if not header[HELD] and self._get_array(slot) is None), None)
        if free is None and self._inherited:
            # Frames from before a restart that are never acknowledged would block the ring: drop the oldest.
            return min(self._inherited, key=lambda slot: self._segment.headers[slot][SEQ])
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
        if header[HELD]:
            return self._holds(slot, frame.key)
        if self.is_copy:
            return False  # these pixels are not in the copy
        frame.pixels.setflags(write=False)
        header[CAMERA], header[SEQ] = _digest(frame.camera), frame.seq
        header[GENERATION] += header[GENERATION] % 2
        header[HELD] = 1
        return True

    def release(self, key: Key) -> None:
        for slot in range(self._segment.slots):
            if self._holds(slot, key):
                self._segment.headers[slot][HELD] = 0
                self._inherited.discard(slot)

    def _holds(self, slot: int, key: Key) -> bool:
        header = self._segment.headers[slot]
        return bool(header[HELD]) and header[SEQ] == key[1] and header[CAMERA] == _digest(key[0])


class FrameReader:
    """The reading end: pixels for references, from any number of rings.

    ``patience_s`` is how long it waits for the owner of a ring that another program has removed to create it anew.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._gone: set[str] = set()
        self._segments: dict[str, FrameSegment] = {}
        self._refs: dict[int, tuple[weakref.ref[Pixels], FrameRef]] = {}

    def resolve(self, ref: FrameRef) -> Pixels:
        """Return the pixels, (H, W, 3) uint8: a read-only view, mapped as long as it exists. :meth:`check` it after
        use.

        Raises :class:`StaleFrame` if the slot was overwritten, :class:`ShortageError` if this process has no
        descriptors or memory left, :class:`TransportError` if there is no such slot.
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

    def _get_segment(self, ref: FrameRef) -> FrameSegment:
        segment = self._segments.get(ref.ring) or self._attach(ref.ring)
        if ref.slot >= segment.slots or ref.shape != segment.shape:
            raise TransportError(
                f"ring {ref.ring} has {segment.slots} slots of {segment.shape}, not slot {ref.slot} of {ref.shape}"
            )
        return segment

    def _attach(self, name: str) -> FrameSegment:
        segment = self._wait_for(name)
        # A new ring often replaces an old one, so release the rings that were unlinked.
        used = {ref.ring for _, ref in self._refs.values()}
        self._segments = {k: one for k, one in self._segments.items() if k in used or shm_segment.exists(k)}
        self._segments[name] = segment
        return segment

    def _wait_for(self, name: str) -> FrameSegment:
        """Attach a ring, waiting for one that is not there or not valid; once, since its owner may have ended."""
        deadline_s = time.monotonic() + (0.0 if name in self._gone else self._patience_s)
        while True:
            try:
                return FrameSegment.attach(name)
            except ShortageError:
                raise
            except TransportError:
                if time.monotonic() >= deadline_s:
                    self._gone.add(name)
                    raise
            time.sleep(_RETRY_S)

    def _compare(self, segment: FrameSegment, ref: FrameRef) -> None:
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


def _attach_former(name: str) -> FrameSegment | None:
    """Attach a segment from before a restart; an invalid or incomplete one is removed."""
    try:
        return FrameSegment.attach(name, writable=True)
    except ShortageError:
        raise
    except TransportError:
        shm_segment.unlink(name)
        return None


@functools.lru_cache(maxsize=256)
def _digest(camera: str) -> int:
    return int.from_bytes(hashlib.blake2b(camera.encode(), digest_size=8).digest(), "little")
