"""Pixels by reference: slots are not overwritten in use, stale reads are detected, and segments are removed."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from stream.errors import ShortageError, StaleFrame, TransportError
from stream.messages import Frame
from stream.transports import shm_segment, wire
from stream.transports.shm_ring import FrameReader, FrameRing
from stream.transports.wire import FrameRef

SHAPE = (4, 6, 3)


@pytest.fixture
def run_id() -> Iterator[str]:
    name = f"test{uuid.uuid4().hex[:12]}"
    yield name
    shm_segment.unlink_all(name)


def fill(ring: FrameRing, seq: int, shape: tuple[int, int, int] = SHAPE, camera: str = "hall") -> Frame:
    pixels = ring.allocate(shape)
    pixels[:] = seq
    return Frame(camera, seq, 0, 0, pixels)


def send(ring: FrameRing, seq: int, shape: tuple[int, int, int] = SHAPE) -> FrameRef:
    """Fill and reference a frame, which the source then deletes; it stays in flight."""
    ref = ring.reference(fill(ring, seq, shape))
    assert ref is not None
    return ref


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


# -- clean-up ---------------------------------------------------------------------------------------------------------


def test_closing_unlinks_the_segments_and_readers_keep_their_pixels(run_id: str) -> None:
    ring, reader = FrameRing(run_id, "camera", 3), FrameReader()
    pixels = reader.resolve(send(ring, 7))
    ring.close()
    ring.close()
    assert not shm_segment.find_names(shm_segment.segment_prefix(run_id))
    reader.close()
    assert (pixels == 7).all()


def test_sweeping_removes_the_segments_of_one_run_only(run_id: str) -> None:
    other = f"{run_id}-2"
    refs = [send(FrameRing(name, owner, 2), 0) for name in (run_id, other) for owner in ("camera", "door 1")]
    assert shm_segment.unlink_all(run_id) == sorted(ref.ring for ref in refs[:2])
    assert shm_segment.unlink_all(other) == sorted(ref.ring for ref in refs[2:])
    assert shm_segment.sweep("") == []


def test_owners_with_similar_names_do_not_share_a_ring(run_id: str) -> None:
    names = ["door 1", "door_1", "door-1", "door", "x" * 300]
    rings = {send(FrameRing(run_id, owner, 2), 0).ring for owner in names}
    assert len(rings) == len(names)
    assert len(shm_segment.find_names(shm_segment.segment_prefix(run_id))) == len(names)


OWNER = """
import sys
from stream.messages import Frame
from stream.transports.shm_ring import FrameRing
ring = FrameRing(sys.argv[1], "camera", 4)
pixels = ring.allocate((4, 6, 3))
pixels[:] = 9
ref = ring.reference(Frame("hall", 3, 0, 0, pixels))
print(ref.ring, ref.slot, ref.generation, flush=True)
sys.stdin.read()
"""


def test_a_segment_outlives_its_killed_owner_until_it_is_swept(run_id: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, run_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        ring, slot, generation = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
    reader = FrameReader()
    pixels = reader.resolve(FrameRef(ring, int(slot), int(generation), SHAPE))
    assert (pixels == 9).all()
    assert FrameRing(run_id, "camera", 4).in_flight == 1
    assert shm_segment.unlink_all(run_id) == [ring]


def test_two_hundred_restarts_leak_no_segment_and_no_descriptor(run_id: str) -> None:
    before = psutil.Process().num_fds()
    for seq in range(200):
        ring = FrameRing(run_id, "camera", 4)
        ring.reference(fill(ring, seq))
    assert len(shm_segment.find_names(shm_segment.segment_prefix(run_id))) == 1
    assert psutil.Process().num_fds() <= before + 1  # the last mapping


def test_a_system_without_dev_shm_uses_its_temporary_folder(
    run_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shm_segment, "_SHM", tmp_path / "missing")
    monkeypatch.setattr(shm_segment, "tempfile", SimpleNamespace(gettempdir=lambda: str(tmp_path)))
    monkeypatch.delattr(os, "posix_fallocate")
    ring = FrameRing(run_id, "camera", 3)
    ref = send(ring, 7, (700, 600, 3))
    assert (FrameReader().resolve(ref) == 7).all()
    assert [path.name for path in tmp_path.iterdir()] == [ref.ring]
    assert (tmp_path / ref.ring).stat().st_blocks * 512 >= 3 * 700 * 600 * 3  # every byte is allocated
    assert shm_segment.unlink_all(run_id) == [ref.ring]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room in a file")
def test_every_page_of_a_ring_exists_before_it_is_used(run_id: str) -> None:
    ref = send(FrameRing(run_id, "camera", 3), 0, (480, 640, 3))
    path = shm_segment.folder() / ref.ring
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert shutil.disk_usage(shm_segment.folder()).free > 0


# -- segments that lose their names -----------------------------------------------------------------------------------


def test_a_segment_that_lost_its_name_is_created_anew_for_readers_that_restart(
    run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    ring, mapped = FrameRing(run_id, "camera", 3), FrameReader()
    before, unsent = send(ring, 7), fill(ring, 6)
    assert (mapped.resolve(before) == 7).all()
    shm_segment.unlink_all(run_id)
    with pytest.raises(TransportError, match="its owner is gone"):
        FrameReader(patience_s=0).resolve(before)
    ring.restore()
    ring.restore()
    (record,) = caplog.records
    assert record.message == (
        f"frame ring of camera: shared memory {before.ring} was removed by another program and is created anew; "
        "if that happens when you log out, run 'loginctl enable-linger'"
    )
    assert ring.reference(unsent) is None, "its pixels are in no segment that a reader can attach"
    after = send(ring, 8)
    assert after.ring != before.ring
    for reader in (mapped, FrameReader()):
        assert (reader.resolve(before) == 7).all()
        assert (reader.resolve(after) == 8).all()
    ring.release(("hall", 7))
    del unsent
    ring.release(("hall", 8))
    assert shm_segment.find_names(shm_segment.segment_prefix(run_id)) == [after.ring]


def test_a_segment_that_was_removed_before_it_was_looked_at_is_created_anew(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, create = FrameRing(run_id, "camera", 3), shm_segment.create

    def create_and_remove(name: str, *rest: Any) -> Any:
        made = create(name, *rest)
        shm_segment.unlink(name)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(shm_segment, "create", create_and_remove)
        before = send(ring, 7)
    ring.restore()
    assert (FrameReader().resolve(before) == 7).all()


def test_a_segment_whose_file_was_replaced_is_created_anew(run_id: str) -> None:
    ring = FrameRing(run_id, "camera", 3)
    before = send(ring, 7)
    path = shm_segment.folder() / before.ring
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(bytes(size))
    ring.restore()
    assert (FrameReader().resolve(before) == 7).all()
    path.unlink()
    path.mkdir()
    try:
        with pytest.raises(TransportError, match="cannot be created: Is a directory; stop the program that uses it"):
            ring.restore()
    finally:
        path.rmdir()


def test_a_reader_waits_for_a_segment_that_lost_its_name_until_its_owner_creates_it_anew(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = FrameRing(run_id, "camera", 3)
    ref = send(ring, 7)
    shm_segment.unlink_all(run_id)
    turns = [lambda: None, lambda: None, ring.restore]
    monkeypatch.setattr(time, "sleep", lambda _seconds: turns.pop(0)())
    assert (FrameReader().resolve(ref) == 7).all()
    assert turns == [], "it waited no longer"


def test_a_segment_that_is_created_anew_is_never_seen_incomplete(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, create = FrameRing(run_id, "camera", 3), shm_segment.create
    ref = send(ring, 7)
    shm_segment.unlink_all(run_id)

    def create_and_read(name: str, *rest: Any) -> Any:
        made = create(name, *rest)
        with pytest.raises(TransportError, match="No such file or directory; its owner is gone"):
            FrameReader(patience_s=0).resolve(ref)
        return made

    monkeypatch.setattr(shm_segment, "create", create_and_read)
    ring.restore()
    assert (FrameReader(patience_s=0).resolve(ref) == 7).all()


def test_a_reader_waits_once_for_a_ring_whose_owner_has_ended(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now_s", clock.now_s + seconds))
    reader, waited_s = FrameReader(patience_s=2.0), []
    for _ in range(2):
        began_s = clock.now_s
        with pytest.raises(TransportError, match="its owner is gone"):
            reader.resolve(FrameRef(f"posestream-{run_id}-camera-1", 0, 2, SHAPE))
        waited_s.append(clock.now_s - began_s)
    assert waited_s == [pytest.approx(2.0, abs=0.01), 0.0]


def test_a_process_without_descriptors_neither_takes_a_segment_for_gone_nor_removes_it(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = send(FrameRing(run_id, "camera", 3), 7)
    words = "cannot be {}: Too many open files; see 'ulimit -a' for the limits of this process"
    with no_descriptors(), pytest.raises(ShortageError, match=f"{ref.ring} {words.format('read')}"):
        FrameReader().resolve(ref)
    with no_descriptors(), pytest.raises(ShortageError, match=words.format("listed")):
        FrameRing(run_id, "camera", 3)
    monkeypatch.setattr(shm_segment, "find_names", lambda _prefix: [ref.ring])
    with no_descriptors(), pytest.raises(ShortageError, match=f"{ref.ring} {words.format('read')}"):
        FrameRing(run_id, "camera", 3)
    assert (FrameReader().resolve(ref) == 7).all()


def test_memory_of_another_user_is_neither_attached_nor_removed(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = send(FrameRing(run_id, "camera", 1), 0)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(TransportError, match="belongs to another user; have it removed"):
        FrameReader(patience_s=0).resolve(ref)
    assert shm_segment.unlink_all(run_id) == []
    monkeypatch.undo()
    assert shm_segment.exists(ref.ring)
