"""Runs every benchmark that needs nothing but this machine, and writes their results: ``python -m benchmarks``.

One that lacks something says so, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys

STANDALONE = ("exports", "hop", "line", "live_ap", "publisher", "restarts", "reuse", "rtsp", "shipped", "training")


def main() -> int:
    """Each in a process of its own; the number of those that failed."""
    failed = [name for name in STANDALONE if not _runs(name)]
    if failed:
        print(f"could not be run to the end, for the reasons above: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def _runs(name: str) -> bool:
    print(f"== {name}: python -m benchmarks.{name} --write", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--write"], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
