"""What `recordsink` costs a frame, beside `overlaysink`, which encodes the same frames too.

    python -m benchmarks.recorder            prints a table
    python -m benchmarks.recorder --write    and writes benchmarks/results/recorder.json and recorder.md

The frames are drawn people, with the truth as their keypoints. All sinks take turns in one process, and a turn is all
frames; the figures are medians over the turns. A ratio is of the two sinks' processor time in the same turn, so it
holds on a busy machine, where times alone do not.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.reporting import make_parser, write_results
from stream.element import Sink, Source
from stream.elements.overlaysink import OverlaySink
from stream.elements.recordsink import RecordSink
from stream.messages import Frame, Poses
from stream.registry import make

WIDTH, HEIGHT, PEOPLE = 1280, 720, 3
BASE = "overlaysink, MP4"


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result = measure(options.frames, options.turns)
    text = table(result)
    print(text)
    if options.write:
        write_results("recorder", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--turns", type=int, default=7)
    return parser.parse_args()


def measure(frames: int, turns: int) -> dict[str, Any]:
    """Time and bytes a frame of every sink."""
    load_before = os.getloadavg()[0]
    items = draw(frames)
    points = [
        {"sink": name, "turn": turn, **record(open_sink, items)}
        for turn in range(turns)
        for name, open_sink in SINKS.items()
    ]
    return {
        "machine": {"python": platform.python_version(), "av": av.__version__, "cores": os.cpu_count()},
        "load_before": load_before,
        "frames": frames,
        "turns": turns,
        "points": points,
    }


SINKS: dict[str, Callable[[Path], Sink]] = {
    BASE: lambda folder: OverlaySink(location=str(folder / "x.mp4")),
    "recordsink": lambda folder: RecordSink(location=str(folder / "x.mcap")),
    "recordsink video=jpeg": lambda folder: RecordSink(location=str(folder / "x.mcap"), video="jpeg"),
    "recordsink video=none": lambda folder: RecordSink(location=str(folder / "x.mcap"), video="none"),
}


def record(open_sink: Callable[[Path], Sink], items: list[Poses]) -> dict[str, float]:
    """Processor time (of all threads) and bytes a frame, from the first frame to the complete file."""
    with tempfile.TemporaryDirectory() as folder:
        sink = open_sink(Path(folder))
        start_s = time.process_time()
        with sink:
            for item in items:
                sink.consume(item)
            sink.flush()
        took_s = time.process_time() - start_s
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {"ms_a_frame": took_s / len(items) * 1e3, "bytes_a_frame": size / len(items)}


def draw(frames: int) -> list[Poses]:
    """Frames of walking people, with the truth as their keypoints."""
    source = make("testsrc", num_frames=frames, width=WIDTH, height=HEIGHT, people=PEOPLE)
    assert isinstance(source, Source)
    with source:
        return [_to_poses(frame) for frame in source.frames() if frame is not None]


def _to_poses(frame: Frame) -> Poses:
    truth = frame.truth
    assert truth is not None
    keypoints = truth.keypoints.copy()
    keypoints[..., 2] = np.where(keypoints[..., 2] > 0, 0.9, 0.0)
    scores = np.full(len(truth.ids), 0.9, np.float32)
    return Poses(dataclasses.replace(frame, truth=None), truth.boxes, scores, truth.ids, keypoints, truth.skeleton)


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    load, cores = result["load_before"], result["machine"]["cores"]
    busy = " A busy machine: the ratios and the sizes hold, the times do not." if load > 1 else ""
    conditions = (
        f"{WIDTH}x{HEIGHT}, {PEOPLE} drawn people, {result['frames']} frames in each of {result['turns']} turns; "
        f"{cores} cores, load {load:.1f} before, PyAV {result['machine']['av']}.{busy}"
    )
    rows = [
        conditions,
        "",
        "| sink | processor time a frame | of overlaysink's | bytes a frame |",
        "|---|---|---|---|",
    ]
    base = _values(result, BASE, "ms_a_frame")
    for name in SINKS:
        times = _values(result, name, "ms_a_frame")
        ratio = statistics.median(one / other for one, other in zip(times, base, strict=True))
        size = statistics.median(_values(result, name, "bytes_a_frame"))
        rows.append(f"| {name} | {statistics.median(times):.1f} ms | {ratio:.2f} | {size / 1e3:.1f} kB |")
    return "\n".join(rows)


def _values(result: dict[str, Any], sink: str, key: str) -> list[float]:
    return [point[key] for point in result["points"] if point["sink"] == sink]


if __name__ == "__main__":
    sys.exit(main())
