"""What a supervisor that was killed left behind is removed, whatever has happened to its run directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.runtime import janitor
from stream.runtime.run_dir import RunDirectory
from stream.transports import shm_segment


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def _spoil(directory: Path) -> None:
    (directory / "run.json").write_text("garbage")


def abandon(directory: Path) -> tuple[bytes, str]:
    """A run whose supervisor was killed: its identity, and the prefix of its shared memory, of which it has one."""
    run = RunDirectory(directory, title="testsrc ! fakesink")
    prefix = shm_segment.segment_prefix(run.run_id)
    shm_segment.create(f"{prefix}camera-1", 4096, "camera").close()
    identity, lock = run.identity, run._lock
    assert lock is not None
    os.close(lock)
    return identity, prefix


@pytest.mark.parametrize(
    "spoil", [lambda _: None, _empty, _spoil, shutil.rmtree], ids=["as it was", "emptied", "spoiled", "gone"]
)
def test_a_run_is_swept_whatever_is_left_of_its_directory(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    identity, prefix = abandon(directory)
    spoil(directory)
    command = [sys.executable, "-P", "-m", "stream.runtime.janitor", str(directory)]
    subprocess.run(command, input=identity, check=True, timeout=60)
    assert not directory.exists()
    assert not shm_segment.find_names(prefix)


def test_another_folder_at_its_place_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    identity, prefix = abandon(directory)
    directory.rename(tmp_path / "moved")
    directory.mkdir(mode=0o700)
    (directory / "token").write_text("precious")
    janitor._sweep(directory, identity)
    assert [path.name for path in directory.iterdir()] == ["token"]
    shm_segment.sweep(prefix)
