"""Run directories: the sockets and files of one running line, and the removal of what killed lines left behind.

A run directory holds the line as YAML, the sockets, the memory of each part, and the process ids. Its owner is the
process that holds the lock on the file ``lock`` in it. A lock ends with its process, however that ends, so a directory
whose lock is free is stale: it is removed, with the processes and the shared memory of its run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from stream.errors import TransportError
from stream.transports.shm_segment import unlink_all

_BASE = "POSESTREAM_RUN_DIR"
"""Environment variable that names the folder of run directories."""


@dataclass(frozen=True)
class Run:
    """A line that runs: its directory, its text, the process id of its supervisor, and when it started."""

    directory: Path
    title: str
    pid: int
    started_s: float


def base_directory() -> Path:
    """The folder of this user's run directories. Short, since a socket path has at most about a hundred bytes."""
    given = os.environ.get(_BASE)
    # The temporary folder of macOS alone would take half of a socket's path.
    return Path(given) if given else Path("/tmp") / f"posestream-{os.getuid()}"


def make_private(directory: Path) -> Path:
    """Make the directory, for this user alone, if it is missing. Raises :class:`TransportError` if others may enter."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise TransportError(f"run directory {directory} cannot be made: {error.strerror}; choose another") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise TransportError(
            f"run directory {directory} is open to others or belongs to them; remove it, or chmod 700 it if it is yours"
        )
    return directory


class RunDirectory:
    """A run directory that this process owns; :meth:`close` removes it, and the shared memory of the run."""

    def __init__(self, directory: Path | None = None, title: str = "") -> None:
        self.path = make_private(directory or make_private(base_directory()) / secrets.token_hex(4))
        self._lock = _take_lock(self.path / "lock")
        if self._lock is None:
            raise TransportError(f"run directory {self.path} is in use by another line; end it, or choose another")
        for former in (*self.path.glob("*.memory"), *self.path.glob("*.pid")):
            former.unlink()
        _write(self.path / "run.json", {"title": title, "pid": os.getpid(), "started_s": time.time()})

    @property
    def run_id(self) -> str:
        """The prefix of the names of this run's shared memory, after ``posestream-``."""
        return get_run_id(self.path)

    def note_process(self, part: str, pid: int) -> None:
        """Write down the process that runs a part, so that a later sweep can end it."""
        _write(self.path / f"{part}.pid", {"pid": pid})

    def forget_process(self, part: str) -> None:
        """The process of a part has ended."""
        (self.path / f"{part}.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the directory and what is left of the run; idempotent."""
        if self._lock is not None:
            unlink_all(self.run_id)
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def get_run_id(directory: Path) -> str:
    """The prefix of the names of a run's shared memory: its directory's name, and a digest of the whole path."""
    digest = hashlib.blake2b(str(directory.resolve()).encode(), digest_size=4).hexdigest()
    return f"{directory.name[:40]}.{digest}"


def list_runs() -> list[Run]:
    """The lines of this user that run now, oldest first."""
    found = [
        run for directory in _directories() if not _is_stale(directory) and (run := _read_run(directory)) is not None
    ]
    return sorted(found, key=lambda run: run.started_s)


def sweep_stale() -> list[Path]:
    """Remove what killed lines have left behind; returns their directories."""
    return [directory for directory in _directories() if sweep(directory)]


def sweep(directory: Path) -> bool:
    """Remove processes, shared memory and directory of one run; False when its owner is alive."""
    lock = _take_lock(directory / "lock")
    if lock is None:
        return False
    try:
        kill_processes(directory)
        unlink_all(get_run_id(directory))
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def kill_processes(directory: Path) -> None:
    """Kill the processes noted in a run directory, unless the id now belongs to another process.

    A part's command line names its run directory. (When a process started would identify it too, but that is read from
    a clock which may be set while a line runs.)
    """
    for note in directory.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, psutil.Error):
            process = psutil.Process(int(json.loads(note.read_text(encoding="utf-8"))["pid"]))
            if str(directory) in process.cmdline():
                process.kill()


def _directories() -> list[Path]:
    folder = base_directory()
    return sorted(path for path in folder.iterdir() if (path / "lock").exists()) if folder.is_dir() else []


def _is_stale(directory: Path) -> bool:
    lock = _take_lock(directory / "lock")
    if lock is not None:
        os.close(lock)
    return lock is not None


def _read_run(directory: Path) -> Run | None:
    try:
        written = json.loads((directory / "run.json").read_text(encoding="utf-8"))
        return Run(directory, str(written["title"]), int(written["pid"]), float(written["started_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take_lock(path: Path) -> int | None:
    """A descriptor that holds the lock on a file, or None when another process does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _write(path: Path, content: dict[str, object]) -> None:
    """Write a file at once, so that no reader sees half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)
