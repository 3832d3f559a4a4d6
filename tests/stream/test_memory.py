"""A map that outlives its process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import PosestreamError
from stream.memory import PersistentMemory, Section


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


def test_what_was_stored_survives_kill_9(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stream.memory import PersistentMemory\n"
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
