"""Sweeps up after a supervisor that was killed: ``python -m stream.runtime.janitor RUN_DIRECTORY``.

Its stdin is a pipe from the supervisor; it waits for that to close, which happens however the supervisor ends. If
the run directory is gone then, all is in order; else whoever is left of the run is killed, and its shared memory and
directory are removed. It is in a session of its own, so that what kills the supervisor's group leaves it alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

_PATIENCE_S = 10.0


def main(directory: Path) -> None:
    """Wait for the end of the supervisor, then sweep."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its supervisor, and not before
    while os.read(0, 1):
        pass
    if directory.exists():
        _sweep(directory)


def _sweep(directory: Path) -> None:
    from stream.runtime.run_dir import end_processes, sweep

    deadline = time.monotonic() + _PATIENCE_S
    # A child that is only just dying may still hold the lock it inherited, or make one more file.
    while directory.exists() and time.monotonic() < deadline:
        end_processes(directory)
        if not sweep(directory):
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
