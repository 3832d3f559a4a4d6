"""Run directories: the sockets and files of one running line, and the removal of what killed lines left behind.

A run directory holds the line as YAML, the sockets, the memory of each part, and the process ids. Its owner is the
process that holds the lock on the directory itself, which no removal of files can undo. A lock ends with its process,
however that ends, so a directory whose lock is free is stale: its files are removed, with the processes and the shared
memory of its run.

Other users may write to the folder that holds run directories. So nothing in a directory is believed, followed or
removed unless the directory is no symbolic link, belongs to this user alone, and is marked by a ``run.json`` of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from engines.formats.files import FormatError
from engines.formats.json import decode_json
from stream.errors import TransportError
from stream.runtime.private_files import (
    create,
    find_fault,
    holding,
    holds,
    read_own,
    take_lock,
    wait_for_lock,
    write,
)
from stream.transports.file_identity import identify
from stream.transports.run_token import RunToken
from stream.transports.shm_segment import unlink_all

_logger = logging.getLogger(__name__)

_BASE = "POSESTREAM_RUN_DIR"
"""Environment variable that names the folder of run directories."""

_MARK, _TOKEN = "run.json", "token"
_FILES = {_MARK, _TOKEN, "line.yaml"}
_SUFFIXES = {".pid", ".memory", ".draft"}
_WORKER, _SHARED_WORKER = "stream.runtime.worker", "stream.runtime.shared_worker"
_KILL_S = 5.0
_RESTART = "end what runs there, remove it, and start again"


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
    return Path(given).absolute() if given else Path("/tmp") / f"posestream-{os.getuid()}"


def make_private(directory: Path) -> Path:
    """Make the directory, for this user alone, if it is missing. Raises :class:`TransportError` if others may enter."""
    _make(directory)
    return directory


def claim(directory: Path) -> Path:
    """Make the directory if it is missing, and mark it as a run directory.

    Raises :class:`TransportError` if others may enter it, if it holds files of another origin, or if it has lost its
    mark and a line runs there.
    """
    _claim(directory)
    return directory


def load_token(directory: Path) -> RunToken:
    """The token of the run in a directory that was claimed. Raises :class:`TransportError`."""
    try:
        return _read_token(directory)
    except (OSError, ValueError) as error:
        raise TransportError(f"the token of run directory {directory} cannot be read: {error}; {_RESTART}") from None


class RunDirectory:
    """A run directory that this process owns; :meth:`close` removes what the run left, and the directory and its
    parents if the run made them."""

    def __init__(self, directory: Path | None = None, title: str = "") -> None:
        self.path = directory or make_private(base_directory()) / secrets.token_hex(4)
        made = _claim(self.path)
        # systemd-tmpfiles, which removes old files from /tmp, leaves alone what is in a locked directory.
        self._lock: int | None = wait_for_lock(self.path)
        # What the directory holds is remembered, since it may be removed at any time from now on.
        self._made = made or _count_made(_read_mark(self.path))
        try:
            for former in (*self.path.glob("*.memory"), *self.path.glob("*.pid")):
                former.unlink(missing_ok=True)
            self.token = _find_token(self.path)
            self._files = {_TOKEN: self.token.text}
            run = {"title": title, "pid": os.getpid(), "started_s": time.time()}
            self.write(_MARK, json.dumps(_new_mark(self._made) | run))
        except BaseException:
            self.close()
            raise

    def write(self, name: str, text: str) -> None:
        """Write a file that only this user can read, and that :meth:`restore` keeps as it is."""
        self._files = {name: text, **self._files}
        self.restore()

    def restore(self) -> None:
        """Write anew the files that were removed or changed, since a part that starts reads them.

        Raises :class:`TransportError` when one cannot be written.
        """
        for name, text in self._files.items():
            if holds(self.path / name, text):
                continue
            try:
                write(self.path / name, text)
            except OSError as error:
                raise TransportError(
                    f"{self.path / name} cannot be written: {error.strerror}; "
                    "make room, and leave the run directory alone"
                ) from error

    @property
    def identity(self) -> bytes:
        """What :func:`restore_identity` needs."""
        return json.dumps([self._files[_MARK], *(identify(self.path) or (0, 0))]).encode()

    @property
    def run_id(self) -> str:
        """The prefix of the names of this run's shared memory, after ``posestream-``."""
        return get_run_id(self.path)

    def note_process(self, part: str, pid: int) -> None:
        """Write down the process that runs a part, so that a later sweep can end it, if there is room for it."""
        with contextlib.suppress(OSError):  # parts end with their supervisor anyway; a sweep only makes sure
            write(self.path / f"{part}.pid", json.dumps({"pid": pid}))

    def forget_process(self, part: str) -> None:
        """The process of a part has ended."""
        (self.path / f"{part}.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what is left of the run; idempotent."""
        if self._lock is not None:
            unlink_all(self.run_id)
            _remove(self.path, self._made)
            os.close(self._lock)
            self._lock = None


def get_run_id(directory: Path) -> str:
    """The prefix of the names of a run's shared memory: its directory's name, and a digest of the whole path."""
    digest = hashlib.blake2b(str(directory.resolve()).encode(), digest_size=4).hexdigest()
    return f"{directory.name[:40]}.{digest}"


def list_runs(directories: Iterable[Path] | None = None) -> list[Run]:
    """The lines that run now, oldest first: those in ``directories``, or those of this user in its base directory."""
    runs = _runs() if directories is None else filter(None, map(_read_run, directories))
    return sorted((run for run in runs if not _is_stale(run.directory)), key=lambda run: run.started_s)


def sweep_stale() -> list[Path]:
    """Remove what killed lines have left behind; returns their directories."""
    return [run.directory for run in _runs() if sweep(run.directory)]


def sweep(directory: Path) -> bool:
    """Remove processes, shared memory and files of one run; False when its owner is alive, or it is no run of ours."""
    if _read_run(directory) is None:
        return False
    lock = take_lock(directory)
    if lock is None:
        return False
    with holding(lock):
        kill_processes(directory)
        unlink_all(get_run_id(directory))
        _remove(directory, _count_made(_read_mark(directory)))
    return True


def restore_identity(directory: Path, identity: bytes) -> None:
    """Mark a directory again as that of the run which has this ``identity``, so that it can be swept. Where it was
    removed, the shared memory of the run is removed too."""
    if not identity:
        return
    mark, *file = decode_json(identity, tuple[str, int, int])
    found = identify(directory)
    if found is None:
        unlink_all(get_run_id(directory))
    elif list(found) == file and not find_fault(directory) and not _read_mark(directory):
        with contextlib.suppress(OSError):
            write(directory / _MARK, mark)


def has_run(directory: Path) -> bool:
    """True while a run of this user, alive or killed, is in the directory."""
    return _read_run(directory) is not None


def kill_processes(directory: Path) -> None:
    """Kill the processes noted in a run directory and wait for their end, unless an id now belongs to another process.

    A part belongs to this user, runs our worker and names its run directory; a process of several parts, which may be
    in several directories, is without its supervisor. (When a process started would identify it too, but that is read
    from a clock which may be set while a line runs; psutil compares it just before it kills.)
    """
    if _read_run(directory) is None:
        return
    killed = []
    for note in directory.glob("*.pid"):
        with contextlib.suppress(OSError, FormatError, ValueError, KeyError, TypeError, psutil.Error):
            process = psutil.Process(int(decode_json(read_own(note))["pid"]))
            if _is_part(process, directory):
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_KILL_S)


def _is_part(process: psutil.Process, directory: Path) -> bool:
    command = process.cmdline()
    if process.uids().real != os.getuid():
        return False
    if _SHARED_WORKER in command and "--parent" in command[:-1]:
        return str(process.ppid()) != command[command.index("--parent") + 1]
    if _WORKER not in command or "--run-dir" not in command[:-1]:
        return False
    named = Path(process.cwd()) / command[command.index("--run-dir") + 1]
    return named.resolve() == directory.resolve()


# -- ownership --------------------------------------------------------------------------------------------------------


def _claim(directory: Path) -> int:
    """As :func:`claim`; return how many folders were made."""
    made = _make(directory)
    try:
        if not _read_mark(directory):
            # Several parts that are started by hand may do this at the same time.
            with holding(wait_for_lock(directory)):
                _mark(directory, made)
        with contextlib.suppress(FileExistsError):
            create(directory / _TOKEN, RunToken.generate().text)
    except OSError as error:
        if made:
            _remove(directory, made)
        raise TransportError(
            f"run directory {directory} cannot be filled: {error.strerror}; make room, or choose another folder with "
            f"--run-dir or {_BASE}"
        ) from error
    return made


def _find_token(directory: Path) -> RunToken:
    """The token that parts started by hand may have read, or a new one if it was removed since."""
    try:
        return _read_token(directory)
    except FileNotFoundError:
        return RunToken.generate()


def _read_token(directory: Path) -> RunToken:
    token = RunToken(read_own(directory / _TOKEN).decode())
    if not token.is_valid:
        raise TransportError(f"the token of run directory {directory} is damaged; {_RESTART}")
    return token


def _make(directory: Path) -> int:
    """Make a private directory; return how many folders were made, its parents included: 0 if it exists.

    Raises :class:`TransportError` unless it is this user's alone.
    """
    missing = [folder for folder in directory.parents if not folder.exists()]
    made = 0
    try:
        for parent in reversed(missing):
            made += _make_one(parent, 0o777)
        made = made + 1 if _make_one(directory, 0o700) else 0
    except OSError as error:
        _remove_empty(missing[:made])
        raise TransportError(f"run directory {directory} cannot be made: {error.strerror}; choose another") from error
    fault = find_fault(directory)
    if fault:
        raise TransportError(f"run directory {directory} {fault}, or choose another with --run-dir or {_BASE}")
    return made


def _make_one(folder: Path, mode: int) -> bool:
    """Make a folder; False if it exists."""
    try:
        folder.mkdir(mode)
    except FileExistsError:
        return False
    return True


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the inner ones first, up to one that is not empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _mark(directory: Path, made: int) -> None:
    """Mark an empty directory as a run directory, and note how many folders were made for it, its parents included."""
    if _read_mark(directory):
        return  # another part was faster
    found = next(directory.iterdir(), None)
    if found is not None:
        raise TransportError(
            f"run directory {directory} holds files that posestream did not make, such as {found.name}; "
            "choose an empty folder, or one that does not exist"
        )
    write(directory / _MARK, json.dumps(_new_mark(made)))


def _new_mark(made: int) -> dict[str, Any]:
    return {"made_by": "posestream", "folders_made": made}


def _read_mark(directory: Path) -> dict[str, Any]:
    """What is in the ``run.json`` of ours; empty without one, or in a directory that others may enter."""
    if find_fault(directory):
        return {}
    try:
        written = decode_json(read_own(directory / _MARK))
    except (OSError, FormatError):
        return {}
    return written if isinstance(written, dict) and written.get("made_by") == "posestream" else {}


def _count_made(mark: dict[str, Any]) -> int:
    found = mark.get("folders_made")
    return found if isinstance(found, int) else 0


def _read_run(directory: Path) -> Run | None:
    written = _read_mark(directory)
    try:
        return Run(directory, str(written["title"]), int(written["pid"]), float(written["started_s"]))
    except (ValueError, KeyError, TypeError):
        return None


def _runs() -> list[Run]:
    folder = base_directory()
    if find_fault(folder):
        return []
    return [run for path in sorted(folder.iterdir()) if (run := _read_run(path)) is not None]


def _remove(directory: Path, made: int) -> None:
    """Remove the files that posestream makes, the mark last, and as many folders as were made: this one and parents."""
    mark = directory / _MARK
    with contextlib.suppress(FileNotFoundError):  # the directory was removed
        others = [path for path in directory.iterdir() if path != mark]
        for path in [*filter(_is_ours, others), mark]:
            with contextlib.suppress(OSError):
                path.unlink()
    _remove_empty([directory, *directory.parents][: max(made, 0)])


def _is_ours(path: Path) -> bool:
    """True for a file that posestream makes in a run directory."""
    mode = path.lstat().st_mode
    if stat.S_ISSOCK(mode):
        return path.suffix == ".sock"
    return stat.S_ISREG(mode) and (path.name in _FILES or path.suffix in _SUFFIXES)


def _is_stale(directory: Path) -> bool:
    lock = take_lock(directory)
    if lock is not None:
        os.close(lock)
    return lock is not None
