"""Time of detectors per frame, and of pose networks per person.

    python -m benchmarks.models --frame PICTURE --detectors A.onnx B.onnx --poses C.onnx [--threads 1]

Prints the median and the 95th percentile of whole calls (fitting or cropping, network, decoding), each after a few
calls to warm up. A pose network without a Signature is treated as a COCO network of the common kind.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.inference.detector import load_detector
from engines.inference.engine import PersonWindows, load

WARM_UP, ROUNDS = 5, 60


def time_ms(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 95th percentile of ``call``, in milliseconds."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times)), float(np.percentile(times, 95))


def report(name: str, what: str, call: Callable[[], object]) -> None:
    """One line of the table."""
    median, late = time_ms(call)
    print(f"{name:32} {what:14} {median:7.1f} {late:7.1f}", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frame", type=Path, required=True)
    parser.add_argument("--detectors", nargs="*", default=[])
    parser.add_argument("--poses", nargs="*", default=["fami-small", "hrnet-small"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    frame = cv2.imread(str(options.frame))
    if frame is None:
        parser.error(f"{options.frame} is not a picture")
    pixels = frame.astype(np.uint8)
    print(f"{pixels.shape[1]}x{pixels.shape[0]} px, {options.threads} thread(s)")
    print(f"{'network':32} {'one call is':14} {'p50 ms':>7} {'p95 ms':>7}")
    for model in options.detectors:
        with load_detector(model, threads=options.threads) as detector:
            report(Path(model).stem, "a frame", lambda: detector.detect(pixels, 0.4))
    for model in options.poses:
        with load(model, threads=options.threads) as engine:
            for people in (1, 4):
                window = _window(pixels, people, engine.signature.frames)
                report(Path(model).stem, f"{people} people", lambda: engine.estimate([window]))  # noqa: B023


def _window(pixels: NDArray[np.uint8], people: int, frames: int) -> PersonWindows:
    height, width = pixels.shape[:2]
    boxes = np.tile(np.array([width * 0.3, height * 0.1, width * 0.6, height * 0.9], np.float32), (people, 1))
    keys = tuple(("benchmark", seq) for seq in range(frames))
    return PersonWindows((pixels,) * frames, keys, boxes, np.arange(people))


if __name__ == "__main__":
    main()
