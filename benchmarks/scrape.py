"""How long ``posestream metrics`` takes to answer a scrape of many parts.

    python -m benchmarks.scrape            prints a table
    python -m benchmarks.scrape --write    and writes benchmarks/results/scrape.json and scrape.md

Lines of four parts whose heartbeats are made up; the exporter answers over HTTP, as Prometheus asks it.
"""

from __future__ import annotations

import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.metrics.exporter import Exporter
from stream.metrics.line_watch import LineWatch
from stream.metrics.running_lines import RunningLines
from stream.pipeline.launch import parse_launch
from stream.runtime.bus import Qos, Stats

_LINE = "testsrc ! queue ! detect ! queue ! window ! pose ! queue ! fakesink"
_PARTS = (4, 40, 200, 1000)


def main() -> None:
    """Measure each number of parts, print, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--scrapes", type=int, default=50)
    options = parser.parse_args()
    rows, result = [], {}
    for parts in _PARTS:
        times_ms, size = measure(parts, options.scrapes)
        p50, p95 = np.percentile(times_ms, (50, 95)).round(2).tolist()
        rows.append(f"| {parts} | {p50:.1f} / {p95:.1f} | {size / 1e3:.0f} |")
        result[parts] = {"p50_ms": p50, "p95_ms": p95, "bytes": size}
    text = "\n".join(
        [
            f"{options.scrapes} scrapes each; {describe_machine()}, load {os.getloadavg()[0]:.0f}",
            "",
            "| parts | scrape, ms: p50 / p95 | answer, kB |",
            "|---|---|---|",
            *rows,
        ]
    )
    print(text)
    if options.write:
        write_results("scrape", result, text)


def measure(parts: int, scrapes: int) -> tuple[list[float], int]:
    """How long each scrape of so many parts takes, ms, and the bytes of an answer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = tuple(_make_line(folder / f"line{number}") for number in range(parts // 4))
        for line in lines:
            stack.callback(line.close)
        exporter = stack.enter_context(Exporter("127.0.0.1", 0, [folder / "none"]))
        stack.enter_context(_replaced(lines))
        times_ms = []
        for _ in range(scrapes):
            began_s = time.perf_counter()
            with urllib.request.urlopen(exporter.address) as answer:
                size = len(answer.read())
            times_ms.append((time.perf_counter() - began_s) * 1e3)
    return times_ms, size


def _make_line(folder: Path) -> LineWatch:
    """A line of four parts, each of which has sent its heartbeat and dropped frames for three reasons."""
    folder.mkdir()
    (folder / "line.yaml").write_text(parse_launch(_LINE).to_yaml())
    line = LineWatch(folder)
    for part in line.parts:
        line.receive(Stats(part=part, items=1000, fps=15.0))
        for reason in ("leaky", "late", "no credit"):
            line.receive(Qos(part=part, camera="hall", reason=reason, dropped=1, total=7))
    return line


@contextmanager
def _replaced(lines: tuple[LineWatch, ...]) -> Iterator[None]:
    """Let every exporter answer for these lines."""
    former = RunningLines.lines
    RunningLines.lines = property(lambda _: lines)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        RunningLines.lines = former  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
