"""Resources of a line over two hundred restarts of one stage: memory, descriptors, threads and segments.

    python -m benchmarks.restarts                   prints a table
    python -m benchmarks.restarts --write           and writes benchmarks/results/restarts.json and restarts.md

The middle stage of a line of three is killed with SIGKILL repeatedly, while frames flow. The resources of its
neighbours and of the supervisor (this process) are measured after some restarts to warm up, and at the end.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Thread

import psutil

from benchmarks.reporting import make_parser, write_results
from stream.pipeline.launch import parse_launch
from stream.runtime.restart_policy import RestartPolicy
from stream.runtime.run_dir import get_run_id
from stream.runtime.supervisor import Supervisor
from stream.transports.shm_segment import find_names, segment_prefix

EMPTY = "benchmarks.empty."
# 60 frames a second for longer than this could ever take.
LINE = f"{EMPTY}camera num_frames=10000000 fps=60 width=320 height=240 ! queue ! {EMPTY}find ! queue ! fakesink"
VICTIM = "find"
# Longer than any restart on a busy machine.
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Resources:
    """The resources of a process."""

    rss_kib: int
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """The resources of the processes after the warm-up and at the end, by name, and the segments of the run."""

    restarts: int
    warm_up: int
    seconds: float
    before: dict[str, Resources]
    after: dict[str, Resources]
    segments_before: int
    segments_after: int

    def growth(self, name: str) -> Resources:
        """The growth of a process's resources."""
        then, now = self.before[name], self.after[name]
        return Resources(now.rss_kib - then.rss_kib, now.descriptors - then.descriptors, now.threads - then.threads)


def main() -> int:
    """Measure, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--restarts", type=int, default=200, help="restarts that are measured")
    parser.add_argument("--warm-up", type=int, default=40, help="restarts before that")
    options = parser.parse_args()
    outcome = measure(options.restarts, options.warm_up)
    text = table(outcome)
    print(text)
    if options.write:
        write_results("restarts", asdict(outcome), text)
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
        began_s, before, segments_before = time.monotonic(), _measure(supervisor), _segments(supervisor)
        for _ in range(restarts):
            _kill_once(supervisor)
        after, segments_after = _measure(supervisor), _segments(supervisor)
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
    deadline_s = time.monotonic() + _TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the line did not come back within {_TIMEOUT_S:.0f} s")
        time.sleep(0.01)


def _measure(supervisor: Supervisor) -> dict[str, Resources]:
    pids = {"supervisor": os.getpid(), **supervisor.pids}
    return {name: _read_resources(pid) for name, pid in pids.items() if name != VICTIM}


def _read_resources(pid: int) -> Resources:
    process = psutil.Process(pid)
    return Resources(process.memory_info().rss // 1024, process.num_fds(), process.num_threads())


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
