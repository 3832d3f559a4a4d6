"""Speed-up of a key frame by cached features of other frames: ``pose crop=lock`` against ``crop=exact``.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.reuse --write

The networks are exported with random weights, which take as long as trained ones; boxes and ids are those of people
that ``testsrc`` draws. Processor time of one thread is taken, not time on the wall, since a machine does other things
too. *Exact* is the fused graph over whole windows, the papers' way; *lock* is backbone and head with ``crop=lock`` as
it is by default. Everything is timed: cropping, network, bookkeeping, the way back to the frame. They take turns,
window by window. *One frame* is a backbone and a head alone, a person each: what nothing that keeps features falls
below.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.inference.engine import Engine, PersonWindows, load
from engines.spec.manifest import read_manifest
from export.exporter import export_network
from export.stages import Request
from export.weights import Choice
from stream.pipeline.launch import parse_launch

RESULTS = Path(__file__).parent / "results" / "reuse.md"
NETWORKS = ("fami-compact-256x192", "dcpose-compact-256x192", "fasrnet-compact-256x192")
WARM_UP = 5


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    lines = list(table(options.networks, options.frames, options.people))
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join([f"# Kept features\n\n{(__doc__ or '').strip()}\n", *lines, ""]))


def table(networks: Sequence[str], frames: int, people: int) -> Iterator[str]:
    """A row for each network."""
    yield (
        f"{platform.machine()}, {os.cpu_count()} cores, ONNX Runtime {onnxruntime.__version__}, one thread; "
        f"{people} people, {frames} key frames; mean milliseconds of processor time for a person and key frame.\n"
    )
    yield "| network | frames | exact ms | lock ms | one frame ms | exact / lock | backbone runs, lock |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            choice = Choice(random=True)
            export = export_network(Request(name, choice=choice, out=Path(folder) / "export"))
            yield make_row(name, export, frames, people)


def make_row(name: str, export: Path, frames: int, people: int) -> str:
    signature = read_manifest(export).signature
    windows = make_windows(frames, people, signature.past, signature.future)
    with load(str(export), crop="exact") as exact, load(str(export), crop="lock") as lock:
        exact_ms, lock_ms = time_in_turns([exact, lock], windows)
        runs = lock.work.computed / lock.work.people
    floor_ms = one_frame_ms(export)
    return (
        f"| {name} | {signature.frames} | {exact_ms:.1f} | {lock_ms:.1f} | {floor_ms:.1f} | "
        f"{exact_ms / lock_ms:.2f} | {runs:.2f} |"
    )


def make_windows(frames: int, people: int, past: int, future: int) -> list[PersonWindows]:
    """Windows of drawn people, with ids."""
    line = f"testsrc num_frames={frames} people={people} ! detect ! track ! window past={past} future={future}"
    return [
        PersonWindows(
            tuple(frame.pixels for frame in window.frames),
            tuple(frame.key for frame in window.frames),
            window.people.boxes,
            window.people.ids,
        )
        for window in parse_launch(line).run()
    ]


def time_in_turns(engines: Sequence[Engine], windows: Sequence[PersonWindows]) -> list[float]:
    """Mean milliseconds of processor time a person, of each, after some windows to warm up."""
    times: list[list[float]] = [[] for _ in engines]
    for window in windows:
        for engine, taken in zip(engines, times, strict=True):
            taken.append(time_ms(partial(engine.estimate, [window])) / len(window))
    return [statistics.mean(taken[WARM_UP:]) for taken in times]


def time_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def one_frame_ms(export: Path) -> float:
    """Of one backbone and one head, a person each."""
    return sum(median_ms(make_backend(export / f"{part}.onnx", "onnxrt:cpu")) for part in ("backbone", "head"))


def median_ms(network: Backend) -> float:
    network.open()
    inputs = network.describe().inputs
    feeds = {tensor.name: np.zeros([size or 1 for size in tensor.shape], tensor.dtype) for tensor in inputs}
    return statistics.median([time_ms(partial(network.run, feeds)) for _ in range(25)][WARM_UP:])


if __name__ == "__main__":
    main()
