"""Two hundred restarts of one stage: what do the others lose by it? Memory, descriptors, segments, threads.

    python -m benchmarks.restarts                   prints a table
    python -m benchmarks.restarts --write           and writes benchmarks/results/restarts.json and restarts.md

The stage in the middle of a line of three is killed with SIGKILL again and again, while frames flow. What its
neighbours and the supervisor (this process) hold is looked at after some restarts, when everything that is only made
once was made, and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread

import psutil

from stream.pipeline.launch import parse_launch
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.run_dir import get_run_id
from stream.runtime.supervisor import Supervisor
from stream.transports.shm_segment import find_names, segment_prefix

RESULTS = Path(__file__).resolve().parent / "results"
EMPTY = "benchmarks.empty."
# 30 frames a second for longer than this could ever take.
LINE = f"{EMPTY}camera num_frames=10000000 fps=30 width=320 height=240 ! queue ! {EMPTY}find ! queue ! fakesink"
VICTIM = "find"
# Longer than any restart on a busy machine; a line that does not come back is reported and not waited for for ever.
_LONG_S = 60.0


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    rss_kib: int
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What processes held after the warm-up and at the end, by name, and the segments of the run."""

    restarts: int
    warm_up: int
    seconds: float
    before: dict[str, Held]
    after: dict[str, Held]
    segments_before: int
    segments_after: int

    def growth(self, name: str) -> Held:
        """How much more a process held at the end."""
        then, now = self.before[name], self.after[name]
        return Held(now.rss_kib - then.rss_kib, now.descriptors - then.descriptors, now.threads - then.threads)


def main() -> int:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=200, help="restarts that are measured")
    parser.add_argument("--warm-up", type=int, default=40, help="restarts before that")
    parser.add_argument("--write", action="store_true", help="write the results folder")
    options = parser.parse_args()
    outcome = measure(options.restarts, options.warm_up)
    text = table(outcome)
    print(text)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "restarts.json").write_text(json.dumps(asdict(outcome), indent=1) + "\n")
        (RESULTS / "restarts.md").write_text(text + "\n")
    return 0


def measure(restarts: int, warm_up: int) -> Outcome:
    """Kill the stage ``warm_up`` + ``restarts`` times. Raises ``RuntimeError`` when the line does not come back."""
    policy = RestartPolicy(restarts=warm_up + restarts + 1, first_delay_s=0.01, longest_delay_s=0.01)
    with Supervisor(parse_launch(LINE), policy=policy, on_stderr=lambda *_: None) as supervisor:
        supervisor.play()
        # As a program does that shows what the line says; unread notices are kept, a thousand of them.
        Thread(target=deque, args=(supervisor.messages(), 0), daemon=True).start()
        _until(lambda: supervisor.state == "PLAYING")
        for _ in range(warm_up):
            _kill_once(supervisor)
        began_s, before, segments_before = time.monotonic(), _held(supervisor), _segments(supervisor)
        for _ in range(restarts):
            _kill_once(supervisor)
        after, segments_after = _held(supervisor), _segments(supervisor)
        supervisor.stop()
        supervisor.wait()
    seconds = time.monotonic() - began_s
    return Outcome(restarts, warm_up, seconds, before, after, segments_before, segments_after)


def _kill_once(supervisor: Supervisor) -> None:
    """Kill the stage, and wait until its successor has finished frames."""
    pid = supervisor.pids[VICTIM]
    os.kill(pid, signal.SIGKILL)
    _until(lambda: supervisor.pids.get(VICTIM, pid) != pid and _has_worked(supervisor))


def _has_worked(supervisor: Supervisor) -> bool:
    stats = supervisor.statistics.get(VICTIM)
    return stats is not None and stats.pid == supervisor.pids.get(VICTIM) and stats.items > 0


def _until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _LONG_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the line did not come back within {_LONG_S:.0f} s")
        time.sleep(0.01)


def _held(supervisor: Supervisor) -> dict[str, Held]:
    pids = {"supervisor": os.getpid(), **supervisor.pids}
    return {name: _held_by(pid) for name, pid in pids.items() if name != VICTIM}


def _held_by(pid: int) -> Held:
    process = psutil.Process(pid)
    return Held(process.memory_info().rss // 1024, process.num_fds(), process.num_threads())


def _segments(supervisor: Supervisor) -> int:
    return len(find_names(segment_prefix(get_run_id(supervisor.run_dir))))


def _title(outcome: Outcome) -> str:
    what = f"{outcome.restarts} restarts of `{VICTIM}` in {outcome.seconds:.0f} s, after {outcome.warm_up} to warm up"
    return f"{what}; {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def table(outcome: Outcome) -> str:
    """The figures for people."""
    rows = [
        _title(outcome),
        "",
        "| process | RSS before, KiB | after | more a restart | descriptors before, after | threads before, after |",
        "|---|---|---|---|---|---|",
    ]
    for name, then in outcome.before.items():
        now = outcome.after[name]
        each = outcome.growth(name).rss_kib / max(1, outcome.restarts)
        counts = f"{then.descriptors}, {now.descriptors} | {then.threads}, {now.threads}"
        rows.append(f"| {name} | {then.rss_kib} | {now.rss_kib} | {each:.2f} | {counts} |")
    rows.append("")
    rows.append(f"shared-memory segments of the run: {outcome.segments_before} before, {outcome.segments_after} after")
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
