"""Speed of exported networks on every backend: people per second and latency, with and without cached features.

    posestream export fami-compact-256x192 --random-weights --out net
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.backends net --write
    python -m benchmarks.backends net-fp32 net-fp16 --backends torch torch:cudagraphs tensorrt --batches 1 8 32

For each exported folder and each backend, several people are estimated at once in one key frame. *full* runs the fused
graph over their whole windows; *reuse* runs the backbone over one new frame of each, caches the features, and runs the
head over their windows. Pixels are random, from numpy arrays to numpy arrays, as in a line. Backends that this machine
cannot run are listed with the reason. Before measuring, each backend's points are compared with those of ONNX Runtime
on the CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from engines.backends.registry import make_backend, make_feature_cache
from engines.errors import EngineError
from engines.spec.manifest import Manifest, read_manifest
from engines.spec.tensors import Array
from stream.runtime.meter import percentile

RESULTS = Path(__file__).parent / "results" / "backends.md"
BACKENDS = ("torch", "torch:compiled", "torch:cudagraphs", "onnxrt:cpu", "onnxrt:cuda", "onnxrt:tensorrt", "tensorrt")
REFERENCE = "onnxrt:cpu"
BATCHES = (1, 8, 32)
WARM_UP = 3
PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda")
HEAD = "| network | backend, device | people | reuse: p50, p95 ms | a second | full: p50, p95 ms | a second | apart |"

Step = Callable[[], object]


def main() -> None:
    """Run the benchmark."""
    options = _options()
    rows = [row for folder in options.folders for row in make_rows(folder, options)]
    text = page(rows, options)
    print(text)
    if options.write:
        RESULTS.write_text(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="exports, made by 'posestream export'")
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    return parser.parse_args()


def make_rows(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Yield a line of the table per backend and batch."""
    manifest = read_manifest(folder)
    name = f"{manifest.signature.name} {manifest.precision}"
    wanted = points(folder, manifest, REFERENCE, options.threads)
    for backend in options.backends:
        for batch in options.batches:
            try:
                cells = measure(folder, manifest, backend, batch, wanted, options)
            except EngineError as error:
                yield f"| {name} | {backend} | not run: {str(error).replace('|', '/')} | | | | | |"
                break
            yield f"| {name} | {' | '.join(cells)} |"
            print(name, *cells, sep="  ", flush=True)


def measure(
    folder: Path, manifest: Manifest, backend: str, batch: int, wanted: Array, options: argparse.Namespace
) -> list[str]:
    """Measure the cells of a line: backend and device, people, four speeds and the difference from the reference."""
    device, full = measure_windows(folder, manifest, backend, batch, options)
    reuse = measure_reuse(folder, manifest, backend, batch, options) if "head" in manifest.graphs else ["", ""]
    apart = np.abs(points(folder, manifest, backend, options.threads) - wanted)[..., :2].max(axis=-1)
    return [f"{backend}, {device}", str(batch), *reuse, *full, f"{np.median(apart):.1e} px"]


def measure_windows(
    folder: Path, manifest: Manifest, backend: str, batch: int, options: argparse.Namespace
) -> tuple[str, list[str]]:
    """The device, and the fused graph's figures."""
    network = make_backend(folder / manifest.graphs["fused"], backend, options.threads)
    network.open()
    try:
        crops = pixels(manifest, batch)
        return network.describe().device, figures(lambda: network.run({"crops": crops}), batch, options.rounds)
    finally:
        network.close()


def measure_reuse(folder: Path, manifest: Manifest, backend: str, batch: int, options: argparse.Namespace) -> list[str]:
    """The figures of backbone and head: one new frame per person, then the windows of all."""
    parts = [folder / manifest.graphs[part] for part in ("backbone", "head")]
    frames = manifest.signature.frames
    ring = make_feature_cache(parts[0], parts[1], batch * frames, backend, options.threads)
    ring.open()
    try:
        crops = pixels(manifest, batch)
        slots = np.arange(batch * frames).reshape(batch, frames)
        for frame in range(frames):
            ring.store(slots[:, frame], crops[:, frame])

        def step() -> None:
            ring.store(slots[:, 0], crops[:, 0])
            ring.read(slots)

        return figures(step, batch, options.rounds)
    finally:
        ring.close()


def points(folder: Path, manifest: Manifest, backend: str, threads: int) -> Array:
    """The points of two fixed windows."""
    network = make_backend(folder / manifest.graphs["fused"], backend, threads)
    network.open()
    try:
        return network.run({"crops": pixels(manifest, 2)})["points"]
    finally:
        network.close()


def pixels(manifest: Manifest, batch: int) -> Array:
    """Random pixels, in the type that the graph takes."""
    random = np.random.default_rng(0)
    shape = (batch, *manifest.signature.input_shape)
    if manifest.signature.pixel == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.normal(size=shape).astype(np.float32)


def figures(step: Step, batch: int, rounds: int) -> list[str]:
    """Latency p50 and p95 in ms, and people per second."""
    for _ in range(WARM_UP):
        step()
    times_s = sorted(seconds(step) for _ in range(rounds))
    p50_ms, p95_ms = (1e3 * percentile(times_s, share) for share in (50, 95))
    return [f"{p50_ms:.1f}, {p95_ms:.1f}", f"{batch / statistics.mean(times_s):.1f}"]


def seconds(step: Step) -> float:
    """Time one step, in seconds."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def page(rows: Sequence[str], options: argparse.Namespace) -> str:
    """The table with the conditions of the measurement."""
    folders = " ".join(folder.name for folder in options.folders)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {options.threads} threads"
    packages = ", ".join(filter(None, map(_release, PACKAGES)))
    backends, batches = " ".join(options.backends), " ".join(map(str, options.batches))
    command = f"--backends {backends} --batches {batches} --rounds {options.rounds}"
    return "\n".join(
        [
            f"`python -m benchmarks.backends {folders} {command}`, random weights and pixels;",
            f"{machine}; {packages}; load when it ended: {os.getloadavg()[0]:.1f}. *apart*: the median distance of",
            f"keypoints from {REFERENCE}'s, in pixels of the crop.",
            "",
            HEAD,
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _release(package: str) -> str:
    try:
        return f"{package} {version(package).partition('+')[0]}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
