"""A line with the default network: testsrc, detect, track, window, pose, keypointsink, measured at a subscriber.

    python -m benchmarks.shipped            prints a table
    python -m benchmarks.shipped --write    and writes benchmarks/results/shipped.json and shipped.md

Three people at 640x480, in three processes: frames per second with a source that waits for the line, then the age of
messages at 30 frames per second, without the first second.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import Any

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.pipeline.launch import parse_launch
from stream.protocol.subscriber import Subscriber
from stream.runtime.meter import percentile
from stream.runtime.supervisor import Supervisor

ADDRESS = "tcp://127.0.0.1:5578"
FPS = 30.0
LINE = "testsrc {source} ! queue ! detect model=truth ! track ! queue ! window ! pose ! keypointsink bind=" + ADDRESS


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "load_before": round(os.getloadavg()[0], 2),
        "fast": [_measure_throughput(options.frames) for _ in range(options.repetitions)],
        "paced": [_measure_latency(options.frames) for _ in range(options.repetitions)],
    }
    text = table(result)
    print(text)
    if options.write:
        write_results("shipped", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--frames", type=int, default=450)
    return parser.parse_args()


def _measure_throughput(frames: int) -> dict[str, float]:
    arrivals = _run(f"num_frames={frames}")
    span_s = (arrivals[-1][0] - arrivals[0][0]) / 1e9
    return {"messages": len(arrivals), "fps": (len(arrivals) - 1) / span_s}


def _measure_latency(frames: int) -> dict[str, float]:
    arrivals = _run(f"num_frames={frames} realtime=true fps={FPS:g}")
    ages_ms = sorted(age for _, age in arrivals[int(FPS) :])
    return {
        "messages": len(arrivals),
        "p50_ms": percentile(ages_ms, 50),
        "p95_ms": percentile(ages_ms, 95),
        "delivered": len(arrivals) / frames,
    }


def _run(source: str) -> list[tuple[int, float]]:
    """Run the line; return the arrival (ns) and the age (ms) of each message."""
    arrivals: list[tuple[int, float]] = []
    with Subscriber(ADDRESS) as subscriber, Supervisor(parse_launch(LINE.format(source=source))) as supervisor:
        supervisor.play()
        while not supervisor.wait(timeout_s=0.0):
            message = subscriber.poll(timeout_s=0.2)
            if message is not None:
                now_ns = time.time_ns()
                arrivals.append((now_ns, (now_ns - message.wall_ns) / 1e6))
    return arrivals


def table(result: dict[str, Any]) -> str:
    """The figures for people: medians over the repetitions, and their range."""
    fast, paced = result["fast"], result["paced"]
    rows = [
        ("frames a second, the source waits", _spread([run["fps"] for run in fast], 1)),
        ("age at a subscriber at 30 fps, p50", _spread([run["p50_ms"] for run in paced], 1) + " ms"),
        ("age at a subscriber at 30 fps, p95", _spread([run["p95_ms"] for run in paced], 1) + " ms"),
        ("frames of a camera of 30 fps that arrive", _spread([100 * run["delivered"] for run in paced], 1) + " %"),
    ]
    head = f"{result['machine']}; load before: {result['load_before']}; {len(fast)} repetitions, medians (and range)"
    lines = [head, "", "| three processes, 640x480, three people, the network that ships | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    raise SystemExit(main())
