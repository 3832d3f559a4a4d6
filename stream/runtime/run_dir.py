"""Run directories: where the processes of one running line meet, and what is left of lines that were killed.

A run directory holds the line as YAML, the sockets, what each part remembers, and the process ids. It belongs to
whoever holds the lock on the file ``lock`` in it: a lock ends with its process, however that ended, so a directory
whose lock can be had is stale, and is swept up with the processes and the shared memory of its run.
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
    """One line that runs: its directory, what it was called, the supervisor's process id and when it began."""

    directory: Path
    title: str
    pid: int
    began_s: float


def base() -> Path:
    """The folder of this user's run directories. Short, since socket paths are at most some hundred bytes long."""
    given = os.environ.get(_BASE)
    # The temporary folder of macOS alone would take half of a socket's path.
    return Path(given) if given else Path("/tmp") / f"posestream-{os.getuid()}"


def ensure(directory: Path) -> Path:
    """The directory, made for this user alone where it is missing. Raises :class:`TransportError` if it is not that."""
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
        self.path = ensure(directory or ensure(base()) / secrets.token_hex(4))
        self._lock = _locked(self.path / "lock")
        if self._lock is None:
            raise TransportError(f"run directory {self.path} is in use by another line; end it, or choose another")
        for former in (*self.path.glob("*.memory"), *self.path.glob("*.pid")):
            former.unlink()
        _write(self.path / "run.json", {"title": title, "pid": os.getpid(), "began_s": time.time()})

    @property
    def run_id(self) -> str:
        """What the names of this run's shared memory begin with, after ``posestream-``."""
        return run_id_of(self.path)

    def note_process(self, part: str, pid: int) -> None:
        """Write down the process that runs a part, so that a later sweep can end it."""
        _write(self.path / f"{part}.pid", {"pid": pid})

    def forget_process(self, part: str) -> None:
        """The process that ran a part has ended."""
        (self.path / f"{part}.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the directory and what is left of the run; idempotent."""
        if self._lock is not None:
            unlink_all(self.run_id)
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = None


def run_id_of(directory: Path) -> str:
    """What the names of a run's shared memory begin with: its directory's name, and a digest of where that lies."""
    digest = hashlib.blake2b(str(directory.resolve()).encode(), digest_size=4).hexdigest()
    return f"{directory.name[:40]}.{digest}"


def running() -> list[Run]:
    """The lines of this user that run now, oldest first."""
    found = [
        run for directory in _directories() if not _is_stale(directory) and (run := _read_run(directory)) is not None
    ]
    return sorted(found, key=lambda run: run.began_s)


def sweep_stale() -> list[Path]:
    """Remove what killed lines have left; returns their directories."""
    return [directory for directory in _directories() if sweep(directory)]


def sweep(directory: Path) -> bool:
    """Remove what is left of one run: processes, shared memory, directory; False when its owner still lives."""
    lock = _locked(directory / "lock")
    if lock is None:
        return False
    try:
        end_processes(directory)
        unlink_all(run_id_of(directory))
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
    return True


def end_processes(directory: Path) -> None:
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
    folder = base()
    return sorted(path for path in folder.iterdir() if (path / "lock").exists()) if folder.is_dir() else []


def _is_stale(directory: Path) -> bool:
    lock = _locked(directory / "lock")
    if lock is not None:
        os.close(lock)
    return lock is not None


def _read_run(directory: Path) -> Run | None:
    try:
        written = json.loads((directory / "run.json").read_text(encoding="utf-8"))
        return Run(directory, str(written["title"]), int(written["pid"]), float(written["began_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(path: Path) -> int | None:
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
    """All at once, so that nobody reads half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)
