"""Faults: what a machine may run out of (disks, shared memory, descriptors, memory, time), and clocks that are set."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import psutil

from benchmarks.faults.kinds import Fault, Missed, Victim, kind, pick_part
from stream.transports.shm_segment import folder

_counter = itertools.count()


def _fill(line: Victim, where: Path, fault: Fault) -> str:
    """Fill a small file system to the last byte; in half of the cases there is room again later."""
    if not os.path.ismount(where):
        raise Missed
    path = where / f".fill{next(_counter)}"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(b"\0"):
            pass
    if fault.draw % 2:
        line.later(60.0, lambda: path.unlink(missing_ok=True))
        return f"{where.name} full for good"
    line.later(fault.hold_s, lambda: path.unlink(missing_ok=True))
    return f"{where.name} full for {fault.hold_s:.2f} s"


@kind("disk of the sinks full", 6, needs="root")
def fill_disk(line: Victim, fault: Fault) -> str:
    return _fill(line, line.disk, fault)


@kind("shared memory full", 2, needs="root")
def fill_shared_memory(line: Victim, fault: Fault) -> str:
    return _fill(line, folder(), fault)


@kind("disk of the run directory full", 2, needs="root")
def fill_run_disk(line: Victim, fault: Fault) -> str:
    return _fill(line, line.run_dir().parent, fault)


def _limit(line: Victim, pid: int, what: int, value: int, seconds: float) -> None:
    try:
        process = psutil.Process(pid)
        before = process.rlimit(what)
        process.rlimit(what, (value, before[1]))
    except (psutil.Error, OSError):
        raise Missed from None

    def lift() -> None:
        with contextlib.suppress(psutil.Error, OSError):
            process.rlimit(what, before)

    line.later(seconds, lift)


@kind("file size of a part limited", 3)
def limit_file_size(line: Victim, fault: Fault) -> str:
    part, pid = pick_part(line, fault)
    size = fault.rng.choice([0, 1000, 5000])
    _limit(line, pid, resource.RLIMIT_FSIZE, size, fault.hold_s)
    return f"files of {part} limited to {size} bytes for {fault.hold_s:.2f} s"


@kind("descriptors limited", 4)
def limit_descriptors(line: Victim, fault: Fault) -> str:
    parts = {"the supervisor": line.supervisor, **line.parts()}
    name = fault.rng.choice(sorted(parts))
    with contextlib.suppress(psutil.Error):
        count = psutil.Process(parts[name]).num_fds() + fault.rng.randint(0, 3)
        _limit(line, parts[name], resource.RLIMIT_NOFILE, count, fault.hold_s)
        return f"descriptors of {name} limited to {count} for {fault.hold_s:.2f} s"
    raise Missed


@kind("memory of a part limited", 3)
def limit_memory(line: Victim, fault: Fault) -> str:
    part, pid = pick_part(line, fault)
    with contextlib.suppress(psutil.Error):
        size = psutil.Process(pid).memory_info().vms + fault.rng.choice([0, 1 << 20])
        _limit(line, pid, resource.RLIMIT_AS, size, fault.hold_s)
        return f"memory of {part} limited to what it has for {fault.hold_s:.2f} s"
    raise Missed


@kind("clock set", 5, survives=True, needs="clock")
def set_clock(line: Victim, fault: Fault) -> str:
    step_s = fault.rng.choice([-1, 1]) * fault.rng.choice([0.5, 10, 3600, 30 * 86400])
    line.clock.write_bytes(struct.pack("=q", round(step_s * 1e9)))
    return f"clock set {step_s:+g} s"


def _schedule(line: Victim, policy: int) -> None:
    with contextlib.suppress(OSError, Missed, psutil.Error):
        for pid in (line.supervisor, *line.parts().values()):
            for thread in psutil.Process(pid).threads():
                os.sched_setscheduler(thread.id, policy, os.sched_param(0))


@kind("starvation", 2, survives=True)
def starve(line: Victim, fault: Fault) -> str:
    """For a while, all processes run only when nothing else does, and something else does on every core."""
    _schedule(line, os.SCHED_IDLE)
    line.later(fault.hold_s, lambda: _schedule(line, os.SCHED_OTHER))
    loop = f"import time\nend = time.monotonic() + {fault.hold_s / 2}\nwhile time.monotonic() < end: pass"
    for _ in range(os.cpu_count() or 1):
        hog = subprocess.Popen([sys.executable, "-S", "-c", loop])
        line.later(fault.hold_s, hog.wait)
    return f"starved for {fault.hold_s / 2:.2f} s"
