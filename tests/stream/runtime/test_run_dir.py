"""Run directories: private, locked by their owner, swept up when it is gone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from stream.errors import TransportError
from stream.runtime import private_files, run_dir
from stream.runtime.run_dir import (
    RunDirectory,
    base_directory,
    claim,
    get_run_id,
    kill_processes,
    list_runs,
    load_token,
    make_private,
    sweep,
    sweep_stale,
)
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


def contents(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- ownership --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["photo.jpg", "token", "run.json", "detect.memory"])
def test_a_directory_of_the_user_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text('{"title": "training", "pid": 1, "started_s": 0}')
    tmp_path.chmod(0o700)
    refusal = (
        f"holds files that posestream did not make, such as {content}; choose an empty folder, or one that does not"
    )
    for use in (RunDirectory, claim):
        with pytest.raises(TransportError, match=refusal):
            use(tmp_path)
    assert not sweep(tmp_path)
    assert contents(tmp_path) == [content]


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\xff")])
def test_the_directory_of_a_run_goes_with_it_though_its_mark_was_spoiled(spoil: Callable[[Path], object]) -> None:
    run = RunDirectory()
    spoil(run.path / "run.json")
    run.close()
    assert not run.path.exists()


def test_a_run_ends_well_though_its_directory_was_removed() -> None:
    run = RunDirectory()
    shutil.rmtree(run.path)
    run.close()
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["token", "run.json", "*"])
def test_a_run_begins_and_ends_well_though_its_directory_is_emptied_when_it_was_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty_and_lock(directory: Path) -> int:
        for file in directory.glob(name):
            file.unlink()
        return private_files.wait_for_lock(directory)

    monkeypatch.setattr(run_dir, "wait_for_lock", empty_and_lock)
    run = RunDirectory()
    assert load_token(run.path) == run.token
    assert list_runs()
    run.close()
    assert not run.path.exists()


def test_a_run_whose_directory_is_removed_when_it_was_made_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_and_lock(directory: Path) -> int:
        shutil.rmtree(directory)
        return private_files.wait_for_lock(directory)

    monkeypatch.setattr(run_dir, "wait_for_lock", remove_and_lock)
    with pytest.raises(TransportError, match=r"run directory /.* was removed; leave it alone while a line runs"):
        RunDirectory()


def test_the_end_of_a_run_removes_only_what_posestream_made(tmp_path: Path) -> None:
    for directory, is_there_before in ((tmp_path / "new", False), (tmp_path / "home", True)):
        if is_there_before:
            directory.mkdir(mode=0o700)
        run = RunDirectory(directory)
        run.note_process("detect", os.getpid())
        for name in ("pose.memory", "results.jsonl", "window.sock"):
            (directory / name).write_text("")
        (directory / "photos").mkdir()
        (directory / "photos.memory").symlink_to(directory / "photos")
        run.close()
        assert contents(directory) == ["photos", "photos.memory", "results.jsonl", "window.sock"]


def test_an_empty_directory_of_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    RunDirectory(tmp_path / "home").close()
    assert contents(tmp_path / "home") == []


def abandon_and_sweep(run: RunDirectory) -> None:
    assert run._lock is not None
    os.close(run._lock)
    assert sweep(run.path)


@pytest.mark.parametrize("end", [RunDirectory.close, abandon_and_sweep])
def test_the_parents_that_a_run_made_go_with_it_and_no_others(
    end: Callable[[RunDirectory], None], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    end(RunDirectory(tmp_path / "mine/a/b/c"))
    assert contents(tmp_path / "mine") == []
    run = RunDirectory(tmp_path / "mine/a/b/c")
    (tmp_path / "mine/a/notes.txt").write_text("")
    end(run)
    assert contents(tmp_path / "mine/a") == ["notes.txt"]


@pytest.mark.parametrize("place", ["a/b/c", "file/b/c"])
def test_a_run_that_cannot_begin_leaves_no_parents(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(run_dir, "create", Mock(side_effect=full))
    with pytest.raises(TransportError, match=r"cannot be (filled|made): (No space left on device|Not a directory)"):
        RunDirectory(tmp_path / place)
    assert contents(tmp_path) == ["file"]


def test_a_sweep_believes_no_folder_that_another_user_made(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = abandoned()
    owner = os.getuid()
    with subprocess.Popen(part_command(dead)) as part:
        (dead / "detect.pid").write_text(json.dumps({"pid": part.pid}))
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
        assert list_runs() == []
        assert sweep_stale() == []
        assert not sweep(dead)
        kill_processes(dead)
        monkeypatch.undo()
        assert part.poll() is None
        part.kill()
    assert contents(dead) == ["detect.pid", "run.json", "token"]


def test_a_sweep_follows_no_links(tmp_path: Path) -> None:
    """Neither to a folder of run directories, nor to a run, nor from a run to files."""
    base = make_private(base_directory())
    thesis = make_private(tmp_path / "thesis")
    (thesis / "thesis.tex").write_text("precious")
    (base / "link").symlink_to(thesis)
    run = make_private(base / "run")
    (run / "run.json").symlink_to(abandoned_elsewhere(tmp_path) / "run.json")
    assert sweep_stale() == []
    assert contents(thesis) == ["thesis.tex"]
    base.rename(tmp_path / "moved")
    base.symlink_to(tmp_path / "moved")
    abandoned_inside = claim(tmp_path / "moved" / "dead")
    (abandoned_inside / "run.json").write_text(json.dumps(run_json()))
    assert sweep_stale() == []
    assert contents(abandoned_inside) == ["run.json", "token"]


def run_json() -> dict[str, object]:
    return {"made_by": "posestream", "folders_made": 1, "title": "", "pid": 1, "started_s": 0.0}


def abandoned_elsewhere(folder: Path) -> Path:
    directory = make_private(folder / "elsewhere")
    (directory / "run.json").write_text(json.dumps(run_json()))
    return directory


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path / "run")
    with pytest.raises(TransportError, match="/run is in use by another line; end it, or choose another"):
        RunDirectory(tmp_path / "run")
    first.close()
    RunDirectory(tmp_path / "run").close()


def test_a_living_run_stays_one_whatever_files_are_removed_from_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_files, "_LOCK_S", 0.05)
    with closing(RunDirectory()) as run:
        for path in run.path.iterdir():
            if path.name != "run.json":
                path.unlink()
        assert [found.directory for found in list_runs()] == [run.path]
        assert sweep_stale() == []
        (run.path / "run.json").unlink()
        for use in (claim, RunDirectory):
            with pytest.raises(TransportError, match="is in use by another line; end it, or choose another"):
                use(run.path)


def test_runs_in_directories_of_the_same_name_do_not_share_memory(tmp_path: Path) -> None:
    first, second = (RunDirectory(tmp_path / folder / "line") for folder in ("a", "b"))
    shm_segment.create(f"posestream-{first.run_id}-keep", 4096, "test").close()
    second.close()
    assert shm_segment.find_names(f"posestream-{first.run_id}-")
    first.close()


def test_a_new_run_in_an_old_directory_remembers_nothing(tmp_path: Path) -> None:
    claim(tmp_path / "run")  # as a part that is started by hand does
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


def part_command(directory: Path, module: str = "stream.runtime.worker") -> list[str]:
    """A process that looks like a part of a run."""
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(100)"]
    return [*sleep, "-m", module, "line.yaml", "--part", "detect", "--run-dir", str(directory)]


def test_a_process_of_several_parts_is_killed_if_its_supervisor_has_ended() -> None:
    dead = abandoned()
    parents = {"orphan": 2**22 + 1, "alive": os.getpid()}
    command = [*part_command(dead, "stream.runtime.shared_worker")[:-4], "--parent"]
    started = {
        name: subprocess.Popen([*command, str(parent)], stdout=subprocess.PIPE) for name, parent in parents.items()
    }
    try:
        for name, process in started.items():
            assert process.stdout is not None
            process.stdout.read(1)  # before, its command line is still that of this process
            (dead / f"{name}.pid").write_text(json.dumps({"pid": process.pid}))
        kill_processes(dead)
        assert [name for name, process in started.items() if psutil.pid_exists(process.pid)] == ["alive"]
    finally:
        for process in started.values():
            process.kill()
            process.communicate()


def test_a_process_of_a_killed_run_is_killed_and_another_that_now_has_its_id_is_not() -> None:
    dead = abandoned()
    commands = {
        "detect": part_command(dead),
        "pose": part_command(dead.with_name("other")),
        "track": part_command(dead, "my.worker"),
        "window": part_command(dead)[:-1],
    }
    processes = {name: subprocess.Popen(command, stdout=subprocess.PIPE) for name, command in commands.items()}
    try:
        for name, process in processes.items():
            assert process.stdout is not None
            process.stdout.read(1)  # before, its command line is still that of this process
            (dead / f"{name}.pid").write_text(json.dumps({"pid": process.pid}))
        assert sweep_stale() == [dead]
        assert [name for name, process in processes.items() if not psutil.pid_exists(process.pid)] == ["detect"]
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


@pytest.mark.parametrize("content", [b"{", b"", b"\xff", b"[" * 100_000, b'{"made_by": "posestream", "pid": NaN}'])
def test_damaged_notes_are_no_obstacle(content: bytes) -> None:
    dead, damaged = abandoned(), abandoned()
    (dead / "detect.pid").write_text("[]")
    (damaged / "run.json").write_bytes(content)
    assert list_runs() == []
    assert sweep_stale() == [dead]
    assert contents(damaged) == ["run.json", "token"]


# -- the token --------------------------------------------------------------------------------------------------------


def test_all_parts_of_a_run_have_one_token_that_only_this_user_can_read(tmp_path: Path) -> None:
    directory = claim(tmp_path / "run")
    token = load_token(claim(directory))
    assert token.is_valid
    assert load_token(directory) == token
    assert (directory / "token").stat().st_mode & 0o777 == 0o600
    assert load_token(claim(tmp_path / "other")) != token


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("", "is damaged"), ("x" * 64, "is damaged")])
def test_a_token_that_is_missing_or_damaged_is_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    file = claim(tmp_path / "run") / "token"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(TransportError, match=f"the token of run directory .*run {words}.*; end what runs there"):
        load_token(tmp_path / "run")


def test_files_that_were_removed_or_damaged_are_written_anew(tmp_path: Path) -> None:
    with closing(RunDirectory(tmp_path / "run", "a line")) as run:
        run.write("line.yaml", "line: []")
        before = {name: (run.path / name).read_text() for name in ("token", "run.json", "line.yaml")}
        (run.path / "token").unlink()
        (run.path / "run.json").write_text("")
        (run.path / "line.yaml").write_bytes(b"\xff")
        run.restore()
        assert {name: (run.path / name).read_text() for name in before} == before


@pytest.mark.parametrize("name", ["create", "write"])
def test_a_full_disk_at_the_start_is_one_line_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(run_dir, name, fail)
    with pytest.raises(TransportError, match=r"cannot be filled: No space left on device; make room"):
        RunDirectory(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_mark_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(tmp_path / "run")
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(TransportError, match=r"run.json cannot be written: No space left on device"):
        RunDirectory(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_token_of_a_run_is_known_though_its_directory_was_emptied(tmp_path: Path) -> None:
    with closing(RunDirectory(tmp_path / "run")) as run:
        token = load_token(run.path)
        for path in run.path.iterdir():
            path.unlink()
        assert run.token == token
        run.restore()
        assert load_token(run.path) == token
