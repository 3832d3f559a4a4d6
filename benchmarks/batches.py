"""Time of a network for each row of a run, by the number of rows, on one core.

    python -m benchmarks.batches NETWORK.onnx …            prints a table
    python -m benchmarks.batches NETWORK.onnx … --write    and writes benchmarks/results/batches.json and batches.md

Processor time of ONNX Runtime, in which other work on the machine hardly shows; sizes take turns within every
repetition. The largest number of rows that is worth a run is :data:`engines.backends.cores.BEST_BATCH`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.backends.registry import make_backend
from engines.spec.tensors import Array, Tensor

ANY = 3
"""Stands for a dimension of any size but the first."""


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "load": round(os.getloadavg()[0], 1),
        "ms": {f"{path.parent.name}/{path.stem}": measure(path, options) for path in options.networks},
    }
    text = table(result)
    print(text)
    if options.write:
        write_results("batches", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("networks", nargs="+", type=Path, help="ONNX files that take any batch")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 3, 4, 6, 8, 16])
    parser.add_argument("--repetitions", type=int, default=9)
    return parser.parse_args()


def measure(path: Path, options: argparse.Namespace) -> dict[int, list[float]]:
    """Milliseconds for each row, by size and repetition."""
    backend = make_backend(path, "onnxrt:cpu", 1)
    backend.open()
    took: dict[int, list[float]] = {size: [] for size in options.sizes}
    for _ in range(options.repetitions):
        for size in options.sizes:
            feeds = {tensor.name: _make_input(tensor, size) for tensor in backend.describe().inputs}
            start_s = time.thread_time()
            backend.run(feeds)
            took[size].append(1e3 * (time.thread_time() - start_s) / size)
    backend.close()
    return took


def _make_input(tensor: Tensor, rows: int) -> Array:
    shape = rows, *(side or ANY for side in tensor.shape[1:])
    random = np.random.default_rng(0)
    values = random.integers(0, 255, shape) if tensor.dtype == "uint8" else random.normal(size=shape)
    return values.astype(tensor.dtype)


def table(result: dict[str, Any]) -> str:
    """Medians, ms of processor time for each row."""
    sizes = list(next(iter(result["ms"].values())))
    head = f"{result['machine']}, load {result['load']}; one thread, ms of processor time for each row, medians."
    rows = [
        f"| {name} | {' | '.join(f'{median(took[size]):.2f}' for size in sizes)} |"
        for name, took in result["ms"].items()
    ]
    return "\n".join(
        [head, "", f"| rows of a run | {' | '.join(map(str, sizes))} |", "|---" * (len(sizes) + 1) + "|", *rows]
    )


if __name__ == "__main__":
    raise SystemExit(main())
