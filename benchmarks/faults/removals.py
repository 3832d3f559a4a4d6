"""Faults: files of the run directory and shared memory that are removed, truncated or overwritten."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

from benchmarks.faults.kinds import Fault, Missed, Victim, kind, pick_part

_HEADERS = 4096 + 64 * 32
"""The bytes at the beginning of a segment that are not pixels. Pixels are spared: that other programs of
this user overwrite them is neither noticed nor defended against."""


def _remove(path: Path, fault: Fault) -> str:  # noqa: ARG001
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return f"{path.name} removed"


def _truncate(path: Path, fault: Fault) -> str:
    with contextlib.suppress(OSError):
        os.truncate(path, fault.rng.choice([0, path.stat().st_size // 2]))
    return f"{path.name} truncated"


def _overwrite(path: Path, fault: Fault) -> str:
    with contextlib.suppress(OSError), path.open("r+b") as file:
        size = min(path.stat().st_size, _HEADERS) if path.name.startswith("posestream-") else path.stat().st_size
        file.write(fault.rng.randbytes(size))
    return f"{path.name} filled with garbage"


_WAYS = (_remove, _truncate, _overwrite)


def _spoil(line: Victim, fault: Fault, found: list[Path], *ways: int) -> str:
    """Spoil one of the files; in two of three cases a part is killed after it, which then needs the file."""
    if not found:
        raise Missed
    done = _WAYS[fault.rng.choice(ways or (0, 1, 2))](fault.rng.choice(sorted(found)), fault)
    return done if fault.draw % 3 == 0 else f"{done}, then {_kill_one(line, fault)}"


def _kill_one(line: Victim, fault: Fault) -> str:
    part, pid = pick_part(line, fault)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    line.note_end_of(part)
    line.later(fault.rng.uniform(0, 0.3), kill)
    return f"SIGKILL to {part}"


def _named(line: Victim, pattern: str) -> list[Path]:
    return list(line.run_dir().glob(pattern))


@kind("socket removed", 4, survives=True)
def remove_socket(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, _named(line, "*.sock"), 0)


@kind("all sockets removed", 1, survives=True)
def remove_sockets(line: Victim, fault: Fault) -> str:
    found = _named(line, "*.sock")
    for path in found[1:]:
        _remove(path, fault)
    return f"all sockets: {_spoil(line, fault, found[:1], 0)}"


@kind("memory of a part spoiled", 4)
def spoil_memory(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, _named(line, "*.memory"))


@kind("text of the line spoiled", 1.5)
def spoil_text(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, _named(line, "line.yaml"))


@kind("mark, lock or process id spoiled", 2)
def spoil_marks(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, [*_named(line, "run.json"), *_named(line, "*.pid")])


@kind("whole run directory emptied", 1.5)
def empty_run_dir(line: Victim, fault: Fault) -> str:
    found = _named(line, "*")
    for path in found[1:]:
        _remove(path, fault)
    return f"all files of the run directory: {_spoil(line, fault, found[:1], 0)}"


@kind("whole run directory removed")
def remove_run_dir(line: Victim, fault: Fault) -> str:
    found = line.run_dir()
    shutil.rmtree(found, ignore_errors=True)
    with contextlib.suppress(Missed):
        return f"run directory removed; {_kill_one(line, fault)}"
    return "run directory removed"


@kind("segment's name removed", 3, survives=True)
def unlink_segment(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, line.segments(), 0)


@kind("segment spoiled", 3)
def spoil_segment(line: Victim, fault: Fault) -> str:
    return _spoil(line, fault, line.segments(), 1, 2)
