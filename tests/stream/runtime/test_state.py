"""A map that outlives its process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from stream.errors import PosestreamError, TransportError
from stream.runtime import private_files, state
from stream.runtime.state import Draft, PersistentMemory, Section


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "detect.memory"


def test_what_is_stored_is_there_when_it_is_opened_again(path: Path) -> None:
    first = PersistentMemory(path)
    first["next id"] = 41
    first["next id"] = 42
    first["größte"] = -(2**63)
    first.close()
    assert dict(PersistentMemory(path)) == {"next id": 42, "größte": -(2**63)}


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.unlink() or path.write_text("mine")])
def test_a_file_that_was_removed_or_replaced_is_written_anew(
    path: Path, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    memory = PersistentMemory(path)
    memory["next id"] = 41
    spoil(path)
    memory.restore()
    memory.store({"next id": 42, "last": 7})
    memory.restore()
    assert dict(PersistentMemory(path)) == {"next id": 42, "last": 7}
    assert path.stat().st_mode & 0o777 == 0o600
    assert caplog.messages == [f"memory {path} was removed by another program and is written anew"]


@pytest.mark.parametrize("garbage", [b"\xff", b"\0", bytes(range(256))])
def test_what_another_program_writes_into_the_file_is_not_believed_and_is_overwritten(
    path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    memory = PersistentMemory(path)
    memory["next id"] = 41
    memory.store({"delivered hall": 19, "box": 1})
    del memory["box"]
    with path.open("r+b") as file:
        file.write((garbage * path.stat().st_size)[: path.stat().st_size])
    assert dict(memory) == {"next id": 41, "delivered hall": 19}
    memory.restore()
    memory["next id"] = 42
    memory.restore()
    assert dict(PersistentMemory(path)) == {"next id": 42, "delivered hall": 19}
    assert caplog.messages == [f"memory {path} was overwritten by another program and is written anew"]


def test_a_file_that_is_removed_again_while_it_is_written_anew_keeps_its_values(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_remove(path: Path, content: str | bytes) -> None:
        private_files.write(path, content)
        path.unlink()

    memory = PersistentMemory(path)
    memory["next id"] = 41
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(state, "write", write_and_remove)
        memory.restore()
    assert memory["next id"] == 41
    memory.restore()
    assert dict(PersistentMemory(path)) == {"next id": 41}


def test_a_file_that_cannot_be_written_anew_is_left_until_it_can(path: Path) -> None:
    memory = PersistentMemory(path)
    memory["next id"] = 41
    path.unlink()
    path.mkdir()
    memory.restore()
    path.rmdir()
    memory.restore()
    assert dict(PersistentMemory(path)) == {"next id": 41}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "make room on its disk"), (errno.EFBIG, "raise the limit of file sizes (ulimit -f)")],
)
def test_a_full_disk_is_an_error_when_it_is_opened_and_no_bus_error_later(
    number: int, remedy: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PersistentMemory(path).close()
    found = path.stat()
    assert found.st_blocks * 512 >= found.st_size  # all of it has its room on the disk

    def refuse(_file: int, _start: int, _size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.posix_fallocate", refuse)
    with pytest.raises(TransportError) as caught:
        PersistentMemory(path)
    expected = f"memory {path} needs {found.st_size:,} bytes: {os.strerror(number)}; {remedy}"
    assert str(caught.value) == expected


def test_what_was_stored_survives_kill_9(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stream.runtime.state import PersistentMemory\n"
        "memory = PersistentMemory(Path(sys.argv[1]))\n"
        "for memory['count'] in range(1, 10**9):\n"
        "    if memory['count'] == 1000: print(flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert PersistentMemory(path)["count"] >= 1000


def test_a_deleted_name_makes_room_for_another(path: Path) -> None:
    memory = PersistentMemory(path)
    for number in range(1024):
        memory[f"camera {number}"] = number
    with pytest.raises(PosestreamError, match=r"memory detect\.memory is full: it holds 1024 numbers; delete some"):
        memory["one more"] = 1
    del memory["camera 5"]
    memory["one more"] = 1
    assert dict(PersistentMemory(path)) == dict(memory)
    assert "camera 5" not in memory


def test_a_number_or_name_that_does_not_fit_is_refused(path: Path) -> None:
    memory = PersistentMemory(path)
    with pytest.raises(PosestreamError, match=f"memory 'id': {2**63} does not fit 64 bits; keep a smaller number"):
        memory["id"] = 2**63
    with pytest.raises(PosestreamError, match="must have 1 to 120 bytes; choose a shorter one"):
        memory["x" * 121] = 1
    assert len(memory) == 0


def test_a_section_sees_its_own_names_only(path: Path) -> None:
    memory = PersistentMemory(path)
    track, pose = Section(memory, "track."), Section(memory, "pose.")
    track["next"] = 7
    pose["next"] = 9
    assert dict(track) == {"next": 7}
    assert dict(memory) == {"track.next": 7, "pose.next": 9}
    del track["next"]
    assert (len(track), len(pose)) == (0, 1)


def test_a_draft_becomes_final_with_the_item_it_was_made_for() -> None:
    draft = Draft({})
    draft["next id"] = 1
    draft.mark([("cam", 0)])
    draft["next id"] = 2
    draft["box"] = 7
    draft.mark([("cam", 1)])
    assert dict(draft) == {"next id": 2, "box": 7}
    assert draft.commit([("cam", 0)]) == {"next id": 1}
    assert draft.commit([("cam", 1)]) == {"next id": 2, "box": 7}


def test_a_draft_has_names_of_its_own() -> None:
    draft = Draft({"track next id": 3, "pose next id": 9}, "track ")
    assert dict(draft) == {"next id": 3}
    draft["next id"] = 4
    draft.mark([("cam", 0)])
    assert draft.commit([("cam", 0)]) == {"track next id": 4}


def test_what_items_of_two_cameras_changed_together_is_final_with_the_last_of_them() -> None:
    draft = Draft({})
    draft["next id"] = 1
    draft.mark([("hall", 5), ("yard", 2)])
    assert draft.commit([("yard", 2)]) == {}
    assert draft.commit([("hall", 5)]) == {"next id": 1}


def test_an_earlier_item_that_is_done_with_later_does_not_undo_a_later_one() -> None:
    draft = Draft({})
    for seq in (0, 1):
        draft["next id"] = seq
        draft.mark([("cam", seq)])
    assert draft.commit([("cam", 1)]) == {"next id": 1}
    assert draft.commit([("cam", 0)]) == {}


def test_what_is_deleted_in_a_draft_is_deleted_for_good_with_its_item() -> None:
    draft = Draft({"box": 1, "id": 2})
    draft["brief"] = 3
    del draft["box"], draft["brief"]
    draft.mark([("cam", 0)])
    assert dict(draft) == {"id": 2}
    assert draft.commit([("cam", 0)]) == {"box": None}  # the other was never stored
    assert draft.commit([("cam", 7)]) == {}  # an item that changed nothing


# -- several values at once -------------------------------------------------------------------------------------------


def test_values_that_are_stored_together_are_there_together(path: Path) -> None:
    memory = PersistentMemory(path)
    memory["box"] = 1
    memory.store({"box": None, "id": 7, "finished cam": -3})
    assert dict(memory) == {"id": 7, "finished cam": -3}
    assert dict(PersistentMemory(path)) == dict(memory)


@pytest.mark.parametrize("writes", range(12))
def test_a_process_killed_while_it_stores_has_stored_all_or_nothing(path: Path, writes: int) -> None:
    before, after = {"a": 1, "b": 2}, {"b": 20, "c": 30}
    memory = PersistentMemory(path)
    memory.store(before)
    memory._map = cast(mmap.mmap, Mortal(memory._map, writes))
    memory._values = cast(Any, Mortal(memory._values, writes))
    with contextlib.suppress(KeyboardInterrupt):
        memory.store({"a": None, **after})
    assert dict(PersistentMemory(path)) in (before, after)


class Mortal:
    """Memory of a process that is killed after so many writes."""

    def __init__(self, memory: Any, writes: int) -> None:
        self._memory, self._writes = memory, writes

    def __getitem__(self, at: Any) -> Any:
        return self._memory[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if not self._writes:
            raise KeyboardInterrupt
        self._writes -= 1
        self._memory[at] = value
