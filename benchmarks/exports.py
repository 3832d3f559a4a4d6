"""Export of every network of crops with the command line, with times and errors.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.exports --write
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.exports --networks fami-compact-256x192 --precision fp16

Weights are random, since most published ones cannot be downloaded automatically. The table shows that every network can
be exported, how long it takes, and the difference between ONNX Runtime and PyTorch. Each export is a separate process;
its memory is the maximum.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import onnx

from engines.hub import catalogue
from engines.spec.manifest import Manifest, read_manifest

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "export.md"
TABLE = re.compile(r"(<!-- exports: begin -->\n).*(<!-- exports: end -->)", re.DOTALL)
HEAD = (
    "| network | nodes: fused, backbone, head | MB | s | GB | heatmaps: fused, cut | px, clear keypoints |",
    "|---|---|---|---|---|---|---|",
)


def networks() -> list[str]:
    """The names of the networks that take a crop."""
    return [name for name in catalogue.list_names("network") if catalogue.find_network(name)[1].takes == "crop"]


def row(name: str, precision: str) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name
        command = [sys.executable, "-m", "stream", "export", name, "--random-weights", "--precision", precision]
        seconds, gigabytes, code = time_command([*command, "--out", str(folder)])
        if code:
            return f"| {name} | failed with exit code {code} | | {seconds:.0f} | {gigabytes:.1f} | | |"
        manifest = read_manifest(folder)
        nodes = ", ".join(str(count_nodes(folder / graph)) for graph in manifest.graphs.values())
    megabytes = sum(file.bytes for file in manifest.files.values()) / 1e6
    parity = " | ".join(describe_parity(manifest))
    return f"| {name} | {nodes} | {megabytes:.0f} | {seconds:.0f} | {gigabytes:.1f} | {parity} |"


def describe_parity(manifest: Manifest) -> tuple[str, str]:
    """The errors of the heatmaps, the largest shift of keypoints, and their number."""
    accounts = [manifest.parity[part] for part in ("fused", "head") if part in manifest.parity]
    clear = re.search(r"(\d+) of (\d+) keypoints", accounts[0].inputs)
    assert clear is not None
    shift = max(account.shift_px_max for account in accounts)
    return ", ".join(f"{account.heatmap_error:.1e}" for account in accounts), f"{shift:.2f}, {clear[1]} of {clear[2]}"


def count_nodes(path: Path) -> int:
    """The number of operators of a graph."""
    return len(onnx.load(str(path), load_external_data=False).graph.node)


def time_command(command: Sequence[str]) -> tuple[float, float, int]:
    """Run a command; return its seconds, its peak memory in GB, and its exit code."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9, process.returncode


def page(names: Sequence[str], precision: str) -> str:
    """The table with the conditions of the measurement."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    lines = [f"`python -m benchmarks.exports --write` on {machine}; {precision}, random weights.", "", *HEAD]
    for name in names:
        print(line := row(name, precision), flush=True)
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Export what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=networks())
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--write", action="store_true", help=f"write the table of {PAGE.name} too")
    options = parser.parse_args()
    text = page(options.networks, options.precision)
    if options.write:
        PAGE.write_text(TABLE.sub(lambda match: match[1] + text + match[2], PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
