"""Removes what a supervisor that was killed left behind: ``python -P -m stream.runtime.janitor RUN_DIRECTORY``.

Its stdin is a pipe from the supervisor, which closes however the supervisor ends. If the run is gone from its directory
by then, there is nothing to do. Else its processes are killed, and its shared memory and files are removed. The
janitor has a session of its own, so that a signal to the supervisor's process group does not reach it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

_TIMEOUT_S = 10.0


def main(directory: Path) -> None:
    """Wait for the end of the supervisor, then remove what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it must outlive its supervisor
    while os.read(0, 1):
        pass
    if directory.exists():
        _sweep(directory)


def _sweep(directory: Path) -> None:
    from stream.runtime.run_dir import has_run, kill_processes, sweep

    deadline = time.monotonic() + _TIMEOUT_S
    # A part that is about to end may still hold the lock it inherited.
    while has_run(directory) and time.monotonic() < deadline:
        kill_processes(directory)
        if not sweep(directory):
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
