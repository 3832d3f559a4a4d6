"""Memory and processor time of many RTSP cameras in one process, and in a process each.

    python -m benchmarks.camera_bank            prints a table
    python -m benchmarks.camera_bank --write    and writes benchmarks/results/camera_bank.json and camera_bank.md

Every camera is a connection of its own to GStreamer's RTSP server (``--server``, run by the system's Python), which
loops a clip of 160 x 120 px at 5 frames a second. The line is one of sources, a queue and a ``fakesink``; only the
processes of sources are counted. Figures for 64 processes are those of 8, continued in a straight line.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from benchmarks.reporting import describe_machine, make_parser, write_results
from benchmarks.rtsp import SHARED, Server
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.runtime.supervisor import Supervisor
from stream.testing.videos import write_video

_WIDTH, _HEIGHT, _FPS, _LOOP = 160, 120, 5, 50
_START_S = 180.0
_COLUMNS = (
    *("cameras", "processes", "RSS", "PSS", "threads", "open files"),
    *("cores", "first frames of all", "frames", "stop"),
)
_SOURCE = "rtspsrc camera=c{0} url={1} retry=always open_timeout_s=20 ! queue name=frames"


@dataclass(frozen=True)
class Run:
    """``cameras``, of which up to ``most`` share a process: the memory (``pss``: pages that processes share count once)
    and threads of all processes of sources, their processor time a second, and the frames of the cameras."""

    cameras: int
    most: int
    processes: int
    rss_mb: float
    pss_mb: float
    threads: int
    files: int
    cpu: float
    start_s: float
    fewest_frames: int
    median_frames: float
    stop_s: float
    load: float


def main() -> int:
    """Measure, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--server", type=Path, default=SHARED / "tools" / "rtsp_server.py")
    parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has GStreamer's RTSP server")
    parser.add_argument("--seconds", type=float, default=20.0, help="of every run")
    parser.add_argument("--cameras", type=int, default=64, help="the most cameras in one process")
    options = parser.parse_args()
    if absent := [str(path) for path in (options.server, Path(options.python)) if not path.exists()]:
        print(f"cannot measure: there is no {absent[0]}", file=sys.stderr)
        return 1
    few = min(8, options.cameras)
    runs = [
        measure(options, cameras, most)
        for cameras, most in ((1, 1), (few, 1), (1, options.cameras), (few, options.cameras), (options.cameras,) * 2)
    ]
    text = describe(runs, options.seconds)
    print(text)
    if options.write:
        write_results("camera_bank", {"machine": describe_machine(), "runs": [asdict(run) for run in runs]}, text)
    return 0


def measure(options: argparse.Namespace, cameras: int, most: int) -> Run:
    """Play so many cameras until each gives frames, and then for so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        options.clip = Path(folder) / "clip.mp4"
        write_video(options.clip, [_picture(number) for number in range(_LOOP)], fps=_FPS, options={"g": str(_FPS)})
        with Server(options, folder) as server, Supervisor(_make_line(server.url, cameras, most)) as supervisor:
            return _play(supervisor, cameras, most, options.seconds)


def _picture(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    columns = (np.arange(_WIDTH) + 4 * number) % 256
    return np.stack(np.broadcast_arrays(columns[None, :], np.arange(_HEIGHT)[:, None], 128), axis=2).astype(np.uint8)


def _make_line(url: str, cameras: int, most: int) -> Pipeline:
    lines = [_SOURCE.format(number, url) for number in range(cameras)]
    return Pipeline(*parse_launch("; ".join([*lines, "from frames ! fakesink"])).lines, sources_per_process=most)


def _play(supervisor: Supervisor, cameras: int, most: int, seconds: float) -> Run:
    load, began_s = os.getloadavg()[0], time.monotonic()
    supervisor.play()
    sources = supervisor.parts[:-1]
    _wait_for(lambda: all(count > 0 for count in _count_frames(supervisor, sources)))
    start_s = time.monotonic() - began_s
    time.sleep(3)  # until all have been connected for a while
    processes = [psutil.Process(pid) for pid in {supervisor.pids[part] for part in sources}]
    before, cpu_s, began_s = _count_frames(supervisor, sources), _cpu_s(processes), time.monotonic()
    time.sleep(seconds)
    frames = [count - first for count, first in zip(_count_frames(supervisor, sources), before, strict=True)]
    cpu = (_cpu_s(processes) - cpu_s) / (time.monotonic() - began_s)
    memory = [process.memory_full_info() for process in processes]
    threads, files = (
        sum(numbers) for numbers in zip(*((p.num_threads(), p.num_fds()) for p in processes), strict=True)
    )
    began_s = time.monotonic()
    supervisor.stop()
    supervisor.wait()
    return Run(
        cameras,
        most,
        len(processes),
        sum(each.rss for each in memory) / 1e6,
        sum(each.pss for each in memory) / 1e6,
        threads,
        files,
        cpu,
        start_s,
        min(frames),
        median(frames),
        time.monotonic() - began_s,
        load,
    )


def _wait_for(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _START_S
    while not is_so():
        if time.monotonic() > until_s:
            raise SystemExit(f"not all cameras gave frames within {_START_S:g} s; try when the machine has less to do")
        time.sleep(0.1)


def _count_frames(supervisor: Supervisor, parts: Sequence[str]) -> list[int]:
    """What each source has passed on since its start."""
    statistics = supervisor.statistics
    return [statistics[part].items if part in statistics else 0 for part in parts]


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def describe(runs: Sequence[Run], seconds: float) -> str:
    """What was measured, as Markdown."""
    loads = [run.load for run in runs]
    clip = f"{_WIDTH} x {_HEIGHT} px at {_FPS} frames a second, {seconds:g} s"
    one, few, alone, _, many = runs
    shared_mb, own_mb = _slope(alone, many), _slope(one, few)
    last = "| {0} | {0}, calculated from those of {1} | {2:,.0f} MB | {3:,.0f} MB | | | {4:.2f} | | | |"
    values = (_continue(one, few, many, get) for get in (_get_rss, _get_pss, _get_cpu))
    return "\n".join(
        [
            f"{clip}; {describe_machine()}, load {min(loads):.0f} to {max(loads):.0f} before the runs.",
            "",
            f"| {' | '.join(_COLUMNS)} |",
            f"|{'---|' * len(_COLUMNS)}",
            *map(_row, runs),
            last.format(many.cameras, few.cameras, *values),
            "",
            f"A further camera takes {shared_mb:.1f} MB in a shared process and {own_mb:.1f} MB in one of its own.",
            "PSS counts the pages that processes share, as those of libraries, once.",
            "*frames* are those of a camera: the fewest and the median.",
        ]
    )


def _row(run: Run) -> str:
    cells = (
        f"{run.cameras}",
        f"{run.processes}",
        f"{run.rss_mb:,.0f} MB",
        f"{run.pss_mb:,.0f} MB",
        f"{run.threads}",
        f"{run.files}",
        f"{run.cpu:.2f}",
        f"{run.start_s:.1f} s",
        f"{run.fewest_frames}, {run.median_frames:g}",
        f"{run.stop_s:.1f} s",
    )
    return f"| {' | '.join(cells)} |"


def _continue(first: Run, second: Run, last: Run, get: Callable[[Run], float]) -> float:
    """The figure of ``last`` on the straight line through those of ``first`` and ``second``."""
    steps = (last.cameras - second.cameras) / max(1, second.cameras - first.cameras)
    return get(second) + steps * (get(second) - get(first))


_get_rss, _get_pss, _get_cpu = attrgetter("rss_mb"), attrgetter("pss_mb"), attrgetter("cpu")


def _slope(first: Run, last: Run) -> float:
    return (last.rss_mb - first.rss_mb) / max(1, last.cameras - first.cameras)


if __name__ == "__main__":
    sys.exit(main())
