"""The line with the network that ships: testsrc, detect, track, window, pose, keypointsink, as a subscriber sees it.

    python -m benchmarks.shipped            prints a table
    python -m benchmarks.shipped --write    and writes benchmarks/results/shipped.json and shipped.md

Three people at 640x480; six processes on whatever cores there are. Frames a second where the source waits for the line,
then ages at a camera's 30 frames a second, the first second left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

from stream.pipeline.launch import parse_launch
from stream.protocol.subscriber import Subscriber
from stream.runtime.meter import percentile
from stream.runtime.supervisor import Supervisor

RESULTS = Path(__file__).resolve().parent / "results"
ADDRESS = "tcp://127.0.0.1:5578"
FPS = 30.0
LINE = (
    "testsrc {source} ! queue ! detect model=truth ! track ! queue ! window ! queue ! pose ! queue "
    "! keypointsink bind=" + ADDRESS
)


def main() -> int:
    """Measure, print, and write where asked to."""
    options = _options()
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 2),
        "fast": [_fast(options.frames) for _ in range(options.repetitions)],
        "paced": [_paced(options.frames) for _ in range(options.repetitions)],
    }
    text = table(result)
    print(text)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "shipped.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "shipped.md").write_text(text + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--frames", type=int, default=450)
    parser.add_argument("--write", action="store_true", help="write the results folder")
    return parser.parse_args()


def _fast(frames: int) -> dict[str, float]:
    arrivals = _received(f"num_frames={frames}")
    span_s = (arrivals[-1][0] - arrivals[0][0]) / 1e9
    return {"messages": len(arrivals), "fps": (len(arrivals) - 1) / span_s}


def _paced(frames: int) -> dict[str, float]:
    arrivals = _received(f"num_frames={frames} realtime=true fps={FPS:g}")
    ages_ms = sorted(age for _, age in arrivals[int(FPS) :])
    return {
        "messages": len(arrivals),
        "p50_ms": percentile(ages_ms, 50),
        "p95_ms": percentile(ages_ms, 95),
        "delivered": len(arrivals) / frames,
    }


def _received(source: str) -> list[tuple[int, float]]:
    """When each message came (ns) and how old it was (ms)."""
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
    lines = [head, "", "| six processes, 640x480, three people, the network that ships | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    raise SystemExit(main())
