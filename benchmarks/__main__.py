"""Run every benchmark that needs only this machine, and write the results: ``python -m benchmarks``.

A benchmark that cannot run prints the reason, and the others continue.
"""

from __future__ import annotations

import subprocess
import sys

STANDALONE = (
    "camera_bank",
    "exports",
    "faults",
    "hop",
    "line",
    "memory",
    "live_ap",
    "publisher",
    "recorder",
    "restarts",
    "reuse",
    "rtsp",
    "shipped",
    "training",
)


def main() -> int:
    """Run each benchmark in a separate process; return the number of failures."""
    failed = [name for name in STANDALONE if not _run(name)]
    if failed:
        print(f"failed, for the reasons above: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def _run(name: str) -> bool:
    print(f"== {name}: python -m benchmarks.{name} --write", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--write"], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
