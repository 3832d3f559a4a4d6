"""One hop at 1080p between two processes: posestream, pyzmq, imagezmq, iceoryx2 and GStreamer's shm elements.

    python -m benchmarks.hop            prints a table
    python -m benchmarks.hop --write    and writes benchmarks/results/hop.json and hop.md

All carriers take turns within every repetition, so that other load on the machine affects all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import hop_ends
from benchmarks.reporting import make_parser, write_results

HERE = Path(__file__).resolve().parent
PACED_FPS = 30.0
OURS, BY_REFERENCE = "ours", "ours by reference"


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    missing = {rival: why for rival in hop_ends.RIVALS if (why := hop_ends.why_missing(rival))}
    for rival, why in missing.items():
        print(f"{rival}: skipped, {why}", file=sys.stderr)
    result = measure([rival for rival in hop_ends.RIVALS if rival not in missing], options)
    result["skipped"] = missing
    text = table(result)
    print(text)
    if options.write:
        write_results("hop", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--paced", type=int, default=60, help="pictures at 30 a second, for latency")
    parser.add_argument("--unpaced", type=int, default=200, help="pictures as fast as they go, for throughput")
    return parser.parse_args()


def measure(rivals: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of every carrier, one list entry per repetition."""
    load_before = os.getloadavg()[0]
    rounds: dict[str, list[dict[str, float]]] = {rival: [] for rival in rivals}
    for repetition in range(options.repetitions):
        turn = repetition % len(rivals)
        for rival in rivals[turn:] + rivals[:turn]:
            rounds[rival].append(_round(rival, options))
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "load": {"before": round(load_before, 2), "after": round(os.getloadavg()[0], 2)},
        "shape": hop_ends.SHAPE,
        "repetitions": options.repetitions,
        "paced_frames": options.paced,
        "unpaced_frames": options.unpaced,
        "rounds": rounds,
    }


def _round(rival: str, options: argparse.Namespace) -> dict[str, float]:
    paced = _hop(rival, PACED_FPS, options.paced)
    unpaced = _hop(rival, 0, options.unpaced)
    latencies_ms = np.array(paced["latencies_ns"][5:]) / 1e6  # without the first few, which meet cold memory
    arrivals_s = np.array(unpaced["arrivals_ns"][5:]) / 1e9
    return {
        "p50_ms": float(np.percentile(latencies_ms, 50)),
        "p99_ms": float(np.percentile(latencies_ms, 99)),
        "fps": float((len(arrivals_s) - 1) / (arrivals_s[-1] - arrivals_s[0])),
    }


def _hop(rival: str, fps: float, frames: int) -> dict[str, list[int]]:
    """Run both ends in separate processes."""
    with tempfile.TemporaryDirectory(prefix="hop") as folder:
        command = [sys.executable, str(HERE / "hop_ends.py"), rival]
        rest = [f"{folder}/{os.getpid()}", str(fps), str(frames)]
        with (
            subprocess.Popen(
                [*command, "receive", *rest], stdout=subprocess.PIPE, text=True, env=_environment()
            ) as receiver,
            subprocess.Popen([*command, "send", *rest], env=_environment()),
        ):
            printed, _ = receiver.communicate(timeout=120)
    return dict(json.loads(printed))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown: medians over the repetitions, and ratios within each of them."""
    rounds, machine, load = result["rounds"], result["machine"], result["load"]
    lines = [
        "# One hop at 1080p between two processes",
        "",
        f"`python -m benchmarks.hop --write`, {result['repetitions']} interleaved repetitions of",
        f"{result['paced_frames']} pictures at 30/s and {result['unpaced_frames']} as fast as they go.",
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']};",
        f"load {load['before']} before, {load['after']} after.",
        "",
        "Latency is from a picture in the sender's memory to every pixel read and summed by the receiver;",
        "*by reference* it is from a picture decoded into its slot to a view on it, checked and not read.",
        "*Best* is the p50 of the least disturbed repetition.",
        "",
        "| carrier | p50 ms | best p50 ms | p99 ms | pictures/s | p50 / ours | pictures/s / ours |",
        "|---|---|---|---|---|---|---|",
        *(_row(rival, rounds) for rival in rounds),
    ]
    skipped = [f"{rival}: {why}" for rival, why in result.get("skipped", {}).items()]
    return "\n".join([*lines, *(["", "Skipped: " + "; ".join(skipped)] if skipped else [])])


def _row(rival: str, rounds: dict[str, list[dict[str, float]]]) -> str:
    figures = [median(one[name] for one in rounds[rival]) for name in ("p50_ms", "p99_ms", "fps")]
    ratios = [_ratio(rounds, rival, name) for name in ("p50_ms", "fps")]
    best = min(one["p50_ms"] for one in rounds[rival])
    shown = [f"{figures[0]:.2f}", f"{best:.2f}", f"{figures[1]:.2f}", f"{figures[2]:.0f}"]
    return "| " + " | ".join([rival, *shown, *(f"{ratio:.2f}" for ratio in ratios)]) + " |"


def _ratio(rounds: dict[str, list[dict[str, float]]], rival: str, name: str) -> float:
    """The median of the ratios within a repetition, under the same conditions."""
    return median(theirs[name] / ours[name] for theirs, ours in zip(rounds[rival], rounds[OURS], strict=True))


if __name__ == "__main__":
    sys.exit(main())
