"""Where a trial runs: folders of its own and, for root on Linux, file systems of its own that may be filled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.faults.kinds import KINDS
from stream.transports.shm_segment import folder

_NEW_MOUNTS, _RECURSIVE, _PRIVATE = 0x00020000, 0x4000, 1 << 18
_PORTS = (10_000, 32_000)
_SIZES = {"shared memory": "24m", "disk": "6m", "runs": "32m"}


@dataclass(frozen=True)
class Place:
    """The folders of a trial: what sinks write, run directories, and all else. ``is_private`` when they are file
    systems of this process and its children alone."""

    root: Path
    is_private: bool

    @property
    def disk(self) -> Path:
        return self.root / "disk"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def reference(self) -> Path:
        return self.root / "reference"

    @property
    def clock(self) -> Path:
        return self.root / "clock"


@contextmanager
def open_place() -> Iterator[Place]:
    """Make the folders, in a new mount namespace if this process may; and remove them. Call it before there are
    threads: a namespace belongs to one."""
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    is_private = sys.platform == "linux" and os.geteuid() == 0 and _leave_mounts()
    place = Place(root, is_private)
    for path in (place.disk, place.runs, place.reference):
        path.mkdir(mode=0o700)
    place.clock.write_bytes(struct.pack("=q", 0))
    mounts = [(folder(), "shared memory"), (place.disk, "disk"), (place.runs, "runs")] if is_private else []
    for path, what in mounts:
        _mount("tmpfs", path, "tmpfs", 0, f"size={_SIZES[what]},mode=0700")
    try:
        yield place
    finally:
        for path, _ in mounts:
            _libc().umount2(str(path).encode(), 2)  # lazily: a process that is about to end may still use it
        shutil.rmtree(root, ignore_errors=True)


def _leave_mounts() -> bool:
    """Go into a mount namespace of one's own, from which nothing reaches others."""
    return _libc().unshare(_NEW_MOUNTS) == 0 and _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE, "")


def _mount(what: str, where: Path, kind: str, flags: int, options: str) -> bool:
    result = _libc().mount(what.encode(), str(where).encode(), kind.encode(), flags, options.encode())
    return bool(result == 0)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def find_reasons() -> dict[str, str]:
    """By kind of fault, why it cannot be made on this machine by this user."""
    missing = {
        "root": "" if sys.platform == "linux" and os.geteuid() == 0 else "not run: needs root on Linux",
        "clock": "" if build_clock() else "not run: needs Linux and a C compiler",
        "": "",
    }
    return {name: missing[kind.needs] for name, kind in KINDS.items() if missing[kind.needs]}


def find_free_ports(count: int) -> list[int]:
    """TCP ports that nothing uses now, and that no system gives to a connection before the line listens on them."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(*_PORTS)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


@cache
def build_clock() -> Path | None:
    """The library that lets the clock of a process be set, compiled once; None where there is no C compiler."""
    source = Path(__file__).with_name("clock.c")
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    target = Path(tempfile.gettempdir()) / f"faults-clock-{os.getuid()}-{source.stat().st_mtime_ns}.so"
    if not target.exists():
        beside = target.with_suffix(f".{os.getpid()}")
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(beside), str(source)]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        beside.replace(target)
    return target
