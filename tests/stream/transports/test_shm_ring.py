"""Pixels by reference: slots are not overwritten in use, and stale reads are detected."""

from __future__ import annotations

import errno
import os
import re

import numpy as np
import pytest

from stream.errors import StaleFrame, TransportError
from stream.messages import Frame
from stream.transports import shm_segment, wire
from stream.transports.shm_ring import FrameReader, FrameRing
from stream.transports.wire import FrameRef
from tests.stream.transports.rings import SHAPE, fill, send

# -- one run ----------------------------------------------------------------------------------------------------------


def test_pixels_are_read_where_they_were_written(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    ref = send(ring, 7)
    pixels = reader.resolve(ref)
    assert pixels.shape == SHAPE
    assert (pixels == 7).all()
    reader.check(ref)


def test_referenced_pixels_are_read_only(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    frame = fill(ring, 7)
    ref = ring.reference(frame)
    assert ref is not None
    assert not frame.pixels.flags.writeable
    assert not reader.resolve(ref).flags.writeable
    with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
        reader.resolve(ref).flags.writeable = True


def test_a_frame_passed_on_keeps_its_reference(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    buffers = wire.pack(fill(ring, 7), reference=ring.reference)
    frame = wire.unpack(buffers, resolve=reader.resolve)
    assert isinstance(frame, Frame)
    assert len(buffers) == 1
    assert wire.pack(frame, reference=reader.reference) == buffers
    reader.check_frame(frame)


def test_other_pixels_have_no_reference_and_are_sent_inline(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    frame = Frame("hall", 0, 0, 0, np.zeros(SHAPE, np.uint8))
    fill(ring, 1)
    assert ring.reference(frame) is None
    assert reader.reference(frame) is None
    reader.check_frame(frame)
    assert len(wire.pack(frame, reference=ring.reference)) == 2


def test_a_slot_in_flight_is_not_reused(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    refs = [send(ring, seq) for seq in range(3)]
    assert ring.in_flight == 3
    spilled = fill(ring, 9)
    assert ring.spilled == 1
    assert ring.reference(spilled) is None
    for seq, ref in enumerate(refs):
        assert (reader.resolve(ref) == seq).all()


def test_a_released_slot_is_reused_and_a_late_reader_raises(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 1), FrameReader()
    ref = send(ring, 0)
    reader.resolve(ref)
    ring.release(("hall", 0))
    reader.check(ref)
    pixels = ring.allocate(SHAPE)
    with pytest.raises(StaleFrame) as caught:
        reader.check(ref)
    assert f"slot 0 of ring {ref.ring} is at generation 3, not 2: its owner was restarted and overwrote it" in str(
        caught.value
    )
    with pytest.raises(StaleFrame):
        reader.resolve(ref)
    del pixels


def test_the_slot_of_a_frame_dropped_before_sending_is_reused(run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 1)
    for seq in range(5):
        fill(ring, seq)
    assert ring.spilled == 0


def test_pixels_that_the_source_keeps_are_not_overwritten(run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 2)
    kept = fill(ring, 5)
    ring.reference(kept)
    ring.release(kept.key)
    for seq in range(4):
        fill(ring, seq)
    assert (kept.pixels == 5).all()


def test_the_same_pixels_under_two_numbers_are_referenced_once(run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 3)
    first = fill(ring, 0)
    second = Frame("hall", 1, 0, 0, first.pixels)
    assert ring.reference(first) == ring.reference(first)
    assert ring.reference(second) is None  # it is sent inline: the slot is released with the first
    ring.release(first.key)
    assert ring.reference(second) is not None


def test_releasing_a_frame_keeps_those_of_other_cameras(run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 3)
    for camera in ("hall", "door"):
        ring.reference(fill(ring, 0, camera=camera))
    ring.release(("hall", 0))
    assert ring.in_flight == 1


def test_a_new_resolution_makes_a_new_ring_and_the_old_one_ends_with_its_last_frame(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    small = send(ring, 0)
    old = reader.resolve(small)
    large = send(ring, 1, (8, 6, 3))
    assert large.ring != small.ring
    assert shm_segment.find_names(shm_segment.segment_prefix(run_id)) == sorted([small.ring, large.ring])
    reader.resolve(large)
    ring.release(("hall", 0))
    assert shm_segment.find_names(shm_segment.segment_prefix(run_id)) == [large.ring]
    assert (old == 0).all()  # readers keep their mapping
    reader.check(small)


def test_a_reader_releases_rings_that_were_unlinked(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    for seq in range(20):
        reader.resolve(send(ring, seq, (4 + seq, 6, 3)))
        ring.release(("hall", seq))
    assert len(reader._segments) <= 2


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_a_restarted_owner_reuses_its_segment(run_id: str) -> None:
    before = FrameRing(run_id, "camera", 4)
    refs = [send(before, seq) for seq in range(2)]
    after = FrameRing(run_id, "camera", 4)
    assert after.in_flight == 2
    assert send(after, 2).ring == refs[0].ring
    reader = FrameReader()
    for seq, ref in enumerate(refs):
        assert (reader.resolve(ref) == seq).all()
    after.release(("hall", 0))
    assert after.in_flight == 2


def test_a_restarted_file_source_references_the_frame_that_is_in_flight(run_id: str) -> None:
    ref = send(FrameRing(run_id, "camera", 4), 5)
    after = FrameRing(run_id, "camera", 4)
    again = fill(after, 5)
    assert after.reference(again) == ref
    assert after.in_flight == 1
    after.release(("hall", 5))
    assert after.in_flight == 0


def test_frames_not_acknowledged_before_a_restart_do_not_block_the_ring(run_id: str) -> None:
    before = FrameRing(run_id, "camera", 3)
    refs = [send(before, seq) for seq in range(3)]
    after = FrameRing(run_id, "camera", 3)
    send(after, 10)
    assert after.spilled == 0
    reader = FrameReader()
    with pytest.raises(StaleFrame):
        reader.resolve(refs[0])  # the oldest was dropped
    assert (reader.resolve(refs[1]) == 1).all()


def test_a_slot_that_a_killed_owner_was_writing_is_reused(run_id: str) -> None:
    before = FrameRing(run_id, "camera", 1)
    half = before.allocate(SHAPE)
    after = FrameRing(run_id, "camera", 1)
    ref = send(after, 1)
    assert ref.generation % 2 == 0
    assert after.spilled == 0
    del half


def test_a_restart_with_another_number_of_slots_makes_another_ring(run_id: str) -> None:
    ref = send(FrameRing(run_id, "camera", 2), 0)
    after = FrameRing(run_id, "camera", 5)
    assert send(after, 1).ring != ref.ring
    after.release(("hall", 0))
    assert ref.ring not in shm_segment.find_names(shm_segment.segment_prefix(run_id))


def test_an_invalid_ring_is_removed_by_its_owner_and_refused_by_a_reader(run_id: str) -> None:
    name = f"{shm_segment.segment_prefix(run_id)}camera-1"
    (shm_segment.folder() / name).write_bytes(bytes(5000))
    with pytest.raises(TransportError, match="is not a frame ring of this version"):
        FrameReader(patience_s=0).resolve(FrameRef(name, 0, 2, SHAPE))
    FrameRing(run_id, "camera", 2)
    assert not shm_segment.exists(name)


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ring": "../etc/passwd"}, "'../etc/passwd' is not the name of a segment"),
        ({"ring": "posestream-missing-camera-1"}, "cannot be read: No such file or directory; its owner is gone"),
        ({"slot": 3}, "has 3 slots of (4, 6, 3), not slot 3 of (4, 6, 3)"),
        ({"shape": (4, 7, 3)}, "has 3 slots of (4, 6, 3), not slot 0 of (4, 7, 3)"),
    ],
)
def test_an_invalid_reference_raises(change: dict[str, object], words: str, run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 3)
    ref = send(ring, 0)
    fields = {"ring": ref.ring, "slot": ref.slot, "generation": ref.generation, "shape": ref.shape, **change}
    with pytest.raises(TransportError) as caught:
        FrameReader(patience_s=0).resolve(FrameRef(**fields))  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_no_room_raises_in_one_line(run_id: str) -> None:
    with pytest.raises(TransportError) as caught:
        FrameRing(run_id, "camera", 60_000).allocate((16_000, 16_000, 3))
    message = str(caught.value)
    assert "frame ring of camera needs 46,0" in message
    assert f"in {shm_segment.folder()} and " in message
    assert message.endswith("make it larger (docker run --shm-size=1g), or have fewer or smaller frames in flight")
    assert not shm_segment.find_names(shm_segment.segment_prefix(run_id))


def test_room_that_ends_during_the_allocation_raises_the_same_and_leaves_nothing(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TransportError, match=r"frame ring of camera needs [\d,]+ bytes in .* and [\d,]+ are free"):
        FrameRing(run_id, "camera", 3).allocate(SHAPE)
    assert not shm_segment.find_names(shm_segment.segment_prefix(run_id))


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENOMEM, errno.EINTR, errno.EIO])
def test_a_limit_reached_during_the_allocation_raises_in_one_line_and_leaves_nothing(
    number: int, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, start: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(TransportError) as caught:
        FrameRing(run_id, "camera", 3).allocate(SHAPE)
    assert re.fullmatch(
        rf"frame ring of camera: shared memory {shm_segment.folder()}/posestream-\S+ cannot be created: "
        rf"{os.strerror(number)}; see 'ulimit -a' for the limits of this process",
        str(caught.value),
    )
    assert not shm_segment.find_names(shm_segment.segment_prefix(run_id))


@pytest.mark.parametrize("shape", [(0, 6, 3), (4, 6, 4), (4, 6), (4, 40_000, 3)])
def test_a_frame_of_another_shape_raises(shape: tuple[int, int, int], run_id: str) -> None:
    with pytest.raises(TransportError, match=r"frame ring of camera: a frame of .* is not \(H, W, 3\) up to 16384"):
        FrameRing(run_id, "camera", 3).allocate(shape)
