"""Run directories: private, locked by their owner, swept up when it is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import TransportError
from stream.runtime.run_dir import RunDirectory, base_directory, get_run_id, list_runs, make_private, sweep_stale
from stream.transports import shm_segment


@pytest.fixture(autouse=True)
def own_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path / "runs"))
    return base_directory()


def abandoned(segment: str = "") -> Path:
    """The directory of a run whose owner has been killed."""
    script = (
        "import os; from stream.runtime.run_dir import RunDirectory\n"
        "run = RunDirectory(title='abandoned')\n"
        "print(run.path, flush=True); os._exit(9)"
    )
    command = [sys.executable, "-c", script]
    directory = Path(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip())
    if segment:
        shm_segment.create(f"posestream-{get_run_id(directory)}-{segment}", 4096, "test").close()
    return directory


def test_a_run_directory_is_for_its_user_alone_and_goes_with_the_run() -> None:
    run = RunDirectory(title="testsrc ! fakesink")
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert [(found.directory, found.title, found.pid) for found in list_runs()] == [
        (run.path, "testsrc ! fakesink", os.getpid())
    ]
    run.close()
    run.close()
    assert not run.path.exists()
    assert list_runs() == []


def test_paths_of_sockets_stay_short_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSESTREAM_RUN_DIR")
    # 8 letters of run id, and a queue and a part of 30 letters each.
    assert len(str(base_directory() / "12345678" / f"{'q' * 30}.{'p' * 30}.sock")) < 100


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(TransportError, match=r"run directory .*/open is open to others or belongs to them; remove it"):
        make_private(tmp_path / "open")


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(TransportError, match="is open to others or belongs to them"):
        make_private(tmp_path / "link")


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run")
    with pytest.raises(TransportError, match="/run is in use by another line; end it, or choose another"):
        RunDirectory(tmp_path / "run")
    first.close()
    RunDirectory(tmp_path / "run").close()


def test_runs_in_directories_of_the_same_name_do_not_share_memory(tmp_path: Path) -> None:
    first, second = (RunDirectory(tmp_path / folder / "line") for folder in ("a", "b"))
    shm_segment.create(f"posestream-{first.run_id}-keep", 4096, "test").close()
    second.close()
    assert shm_segment.find_names(f"posestream-{first.run_id}-")
    first.close()


def test_a_new_run_in_an_old_directory_remembers_nothing(tmp_path: Path) -> None:
    make_private(tmp_path / "run")
    (tmp_path / "run" / "detect.memory").write_bytes(b"old")
    run = RunDirectory(tmp_path / "run")
    assert not list(run.path.glob("*.memory"))
    run.close()


def test_what_a_killed_run_has_left_is_swept_up_and_a_living_one_is_left_alone() -> None:
    living = RunDirectory()
    shm_segment.create(f"posestream-{living.run_id}-keep", 4096, "test").close()
    dead = abandoned("painted-1")
    assert [found.directory for found in list_runs()] == [living.path]
    assert sweep_stale() == [dead]
    assert not dead.exists()
    assert not shm_segment.find_names(f"posestream-{get_run_id(dead)}-")
    assert shm_segment.find_names(f"posestream-{living.run_id}-")
    living.close()
    assert not shm_segment.find_names(f"posestream-{living.run_id}-")


def test_a_process_of_a_killed_run_is_killed_and_another_that_now_has_its_id_is_not() -> None:
    dead = abandoned()
    sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
    with subprocess.Popen([*sleep, str(dead)]) as part, subprocess.Popen(sleep) as other:
        for name, process in (("detect", part), ("pose", other)):
            (dead / f"{name}.pid").write_text(json.dumps({"pid": process.pid}))
        assert sweep_stale() == [dead]
        assert part.wait(30) == -9
        assert other.poll() is None
        other.kill()


def test_damaged_notes_are_no_obstacle() -> None:
    dead = abandoned()
    (dead / "run.json").write_text("{")
    (dead / "detect.pid").write_text("[]")
    assert list_runs() == []
    assert sweep_stale() == [dead]
