"""A line of five processes with empty elements at 720p: throughput, latency, and latency with a slow stage.

    python -m benchmarks.line            prints a table
    python -m benchmarks.line --write    and writes benchmarks/results/line.json and line.md

The elements are those of ``benchmarks/empty``, so that only the line is measured, with its default settings.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.protocol.subscriber import Subscriber
from stream.runtime.meter import percentile
from stream.runtime.supervisor import Supervisor

EMPTY = "benchmarks.empty."
FPS = 30.0
SLOW_MS = 10 * 1000 / FPS
"""Ten times the frame period at 30 frames per second."""


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result: dict[str, Any] = {"machine": describe_machine()}
    result["load_before"] = round(os.getloadavg()[0], 2)
    result["fast"] = [throughput(options.frames) for _ in range(options.repetitions)]
    result["paced"] = [latency(options.paced) for _ in range(options.repetitions)]
    result["slow"] = {stage: slow_stage(stage, options.seconds) for stage in ("find", "estimate")}
    text = table(result)
    print(text)
    if options.write:
        write_results("line", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--frames", type=int, default=1500, help="frames as fast as they go, for throughput")
    parser.add_argument("--paced", type=int, default=300, help="frames at 30 a second, for latency")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a slow stage is watched")
    return parser.parse_args()


def line(camera: str, sink: str, find_ms: float = 0.0, estimate_ms: float = 0.0) -> Pipeline:
    """Five processes: camera, detector, windows, engine, sink."""
    return parse_launch(
        f"{EMPTY}camera {camera} ! queue ! {EMPTY}find step_ms={find_ms} ! queue ! window ! queue "
        f"! {EMPTY}estimate step_ms={estimate_ms} ! queue ! {sink}"
    )


def throughput(frames: int) -> dict[str, float]:
    """Frames per second between the first arrival and the last, with a source that waits for the line."""
    arrivals = _run(f"num_frames={frames}")
    span_s = (arrivals[-1][2] - arrivals[0][2]) / 1e9
    return {"frames": len(arrivals), "fps": (len(arrivals) - 1) / span_s}


def latency(frames: int) -> dict[str, float]:
    """The latency of the line at 30 frames per second, from capture to the sink, in ms, without the first second."""
    arrivals = _run(f"num_frames={frames} fps={FPS}")
    ages_ms = sorted((arrived - captured) / 1e6 for _, captured, arrived in arrivals[int(FPS) :])
    return {"frames": len(arrivals), "p50_ms": percentile(ages_ms, 50), "p99_ms": percentile(ages_ms, 99)}


def _run(camera: str) -> list[tuple[int, int, int]]:
    with tempfile.TemporaryDirectory() as folder:
        location = Path(folder) / "arrivals.json"
        with Supervisor(line(camera, f"{EMPTY}receive location={location}")) as supervisor:
            supervisor.play()
            supervisor.wait()
        return [tuple(arrival) for arrival in json.loads(location.read_text())]


def slow_stage(stage: str, seconds: float) -> dict[str, float]:
    """The age of messages at a subscriber, in ms and stage times, while ``stage`` takes ten frame periods."""
    find_ms, estimate_ms = (SLOW_MS if stage == name else 0.0 for name in ("find", "estimate"))
    frames = int(seconds * FPS)
    pipeline = line(f"num_frames={frames} fps={FPS}", "keypointsink bind=tcp://127.0.0.1:5579", find_ms, estimate_ms)
    with Subscriber("tcp://127.0.0.1:5579") as subscriber, Supervisor(pipeline) as supervisor:
        supervisor.play()
        ages_ms = _ages_ms(subscriber, supervisor)
        supervisor.wait()
    half = len(ages_ms) // 2
    return {
        "messages": len(ages_ms),
        "p50_ms": median(ages_ms),
        "most_ms": max(ages_ms),
        "first_half_p50_ms": median(ages_ms[:half]),
        "second_half_p50_ms": median(ages_ms[half:]),
        "most_stage_times": max(ages_ms) / SLOW_MS,
    }


def _ages_ms(subscriber: Subscriber, supervisor: Supervisor) -> list[float]:
    """The age of every message at its arrival, without the last, which ends the stream."""
    ages_ms: list[float] = []
    while not supervisor.wait(timeout_s=0.0):
        message = subscriber.poll(timeout_s=0.2)
        if message is not None:
            ages_ms.append((time.time_ns() - message.wall_ns) / 1e6)
    return ages_ms


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown: medians over the repetitions."""
    fps = [run["fps"] for run in result["fast"]]
    rows = [
        f"{result['machine']}; load before: {result['load_before']}; {len(fps)} repetitions, medians (and range)",
        "",
        "| five processes, 720p, empty engines | |",
        "|---|---|",
        f"| frames a second, the source waits | {_spread(fps, 0)} |",
        f"| added latency at 30 fps, p50 | {_spread([run['p50_ms'] for run in result['paced']], 2)} ms |",
        f"| added latency at 30 fps, p99 | {_spread([run['p99_ms'] for run in result['paced']], 2)} ms |",
    ]
    for stage, ages in result["slow"].items():
        rows.append(
            f"| age at a subscriber, `{stage}` takes {SLOW_MS:.0f} ms: first half, second half, most | "
            f"{ages['first_half_p50_ms']:.0f} ms, {ages['second_half_p50_ms']:.0f} ms, {ages['most_ms']:.0f} ms "
            f"= {ages['most_stage_times']:.2f} stage times |"
        )
    return "\n".join(rows)


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    raise SystemExit(main())
