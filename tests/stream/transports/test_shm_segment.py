"""The segments of rings: they are removed with their run, and created anew where they lost their names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from stream.errors import ShortageError, TransportError
from stream.transports import shm_segment
from stream.transports.shm_ring import FrameReader, FrameRing
from stream.transports.wire import FrameRef
from tests.stream.transports.rings import SHAPE, fill, no_descriptors, send

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
