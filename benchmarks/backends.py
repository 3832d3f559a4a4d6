"""How fast exported networks run on every backend: people a second and latency, with and without kept features.

    posestream export fami-compact-256x192 --random-weights --out net
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.backends net --write
    python -m benchmarks.backends net-fp32 net-fp16 --backends torch torch:cudagraphs tensorrt --batches 1 8 32

For each folder of an export and each backend: so many people at once, one key frame. *anew* runs the fused graph over
their whole windows; *reuse* runs the backbone over one new frame of each, keeps it, and runs the head over their
windows. Pixels are random and travel from numpy arrays to numpy arrays, as in a line. What this machine cannot run is
said, with the reason. Before measuring, each backend's points are held against ONNX Runtime's on the processor: a fast
wrong answer is no answer.
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
HEAD = "| network | backend, device | people | reuse: p50, p95 ms | a second | anew: p50, p95 ms | a second | apart |"

Step = Callable[[], object]


def main() -> None:
    """Measure what the command line names."""
    told = _options()
    rows = [row for folder in told.folders for row in list_instances(folder, told)]
    text = page(rows, told)
    print(text)
    if told.write:
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


def list_instances(folder: Path, told: argparse.Namespace) -> Iterator[str]:
    """A line of the table for each backend and batch."""
    manifest = read_manifest(folder)
    name = f"{manifest.signature.name} {manifest.precision}"
    wanted = points(folder, manifest, REFERENCE, told.threads)
    for backend in told.backends:
        for batch in told.batches:
            try:
                cells = measured(folder, manifest, backend, batch, wanted, told)
            except EngineError as error:
                yield f"| {name} | {backend} | not run: {str(error).replace('|', '/')} | | | | | |"
                break
            yield f"| {name} | {' | '.join(cells)} |"
            print(name, *cells, sep="  ", flush=True)


def measured(
    folder: Path, manifest: Manifest, backend: str, batch: int, wanted: Array, told: argparse.Namespace
) -> list[str]:
    """Backend and device, people, four figures of speed and the distance from the reference."""
    device, anew = whole(folder, manifest, backend, batch, told)
    reuse = streamed(folder, manifest, backend, batch, told) if "head" in manifest.graphs else ["", ""]
    apart = np.abs(points(folder, manifest, backend, told.threads) - wanted)[..., :2].max(axis=-1)
    return [f"{backend}, {device}", str(batch), *reuse, *anew, f"{np.median(apart):.1e} px"]


def whole(
    folder: Path, manifest: Manifest, backend: str, batch: int, told: argparse.Namespace
) -> tuple[str, list[str]]:
    """The device, and the fused graph's figures."""
    network = make_backend(folder / manifest.graphs["fused"], backend, told.threads)
    network.open()
    try:
        crops = pixels(manifest, batch)
        return network.describe().device, figures(lambda: network.run({"crops": crops}), batch, told.rounds)
    finally:
        network.close()


def streamed(folder: Path, manifest: Manifest, backend: str, batch: int, told: argparse.Namespace) -> list[str]:
    """The figures of backbone and head: one new frame of each person, then everybody's window."""
    parts = [folder / manifest.graphs[part] for part in ("backbone", "head")]
    frames = manifest.signature.frames
    ring = make_feature_cache(parts[0], parts[1], batch * frames, backend, told.threads)
    ring.open()
    try:
        crops = pixels(manifest, batch)
        slots = np.arange(batch * frames).reshape(batch, frames)
        for frame in range(frames):
            ring.store(slots[:, frame], crops[:, frame])

        def step() -> None:
            ring.store(slots[:, 0], crops[:, 0])
            ring.read(slots)

        return figures(step, batch, told.rounds)
    finally:
        ring.close()


def points(folder: Path, manifest: Manifest, backend: str, threads: int) -> Array:
    """Of two windows that are always the same."""
    network = make_backend(folder / manifest.graphs["fused"], backend, threads)
    network.open()
    try:
        return network.run({"crops": pixels(manifest, 2)})["points"]
    finally:
        network.close()


def pixels(manifest: Manifest, batch: int) -> Array:
    """Random ones, as the graph takes them."""
    random = np.random.default_rng(0)
    shape = (batch, *manifest.signature.input_shape)
    if manifest.signature.pixel == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.normal(size=shape).astype(np.float32)


def figures(step: Step, batch: int, rounds: int) -> list[str]:
    """Latency p50 and p95 in ms, and people a second."""
    for _ in range(WARM_UP):
        step()
    times_s = sorted(seconds(step) for _ in range(rounds))
    p50_ms, p95_ms = (1e3 * percentile(times_s, share) for share in (50, 95))
    return [f"{p50_ms:.1f}, {p95_ms:.1f}", f"{batch / statistics.mean(times_s):.1f}"]


def seconds(step: Step) -> float:
    """How long one takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def page(rows: Sequence[str], told: argparse.Namespace) -> str:
    """The table, and under which conditions it came about."""
    folders = " ".join(folder.name for folder in told.folders)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {told.threads} threads"
    packages = ", ".join(filter(None, map(_release, PACKAGES)))
    command = (
        f"--backends {' '.join(told.backends)} --batches {' '.join(map(str, told.batches))} --rounds {told.rounds}"
    )
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
