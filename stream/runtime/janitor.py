"""Removes what a supervisor that was killed left behind: ``python -P -m stream.runtime.janitor RUN_DIRECTORY``.

Its stdin is a pipe from the supervisor, which closes however the supervisor ends. If the run is gone from its directory
by then, there is nothing to do. Else its processes are killed, and its shared memory and files are removed; also where
another program has emptied or removed the directory, since the supervisor has written into the pipe what marks it. The
janitor has a session of its own, so that a signal to the supervisor's process group does not reach it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

ENDED = b"\n"
"""What a supervisor that has cleaned up writes last."""

_TIMEOUT_S = 10.0


def main(directory: Path) -> None:
    """Wait for the end of the supervisor, then remove what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it must outlive its supervisor
    identity = b""
    while data := os.read(0, 4096):
        identity += data
    has_ended = identity.endswith(ENDED)
    if not has_ended or directory.exists():
        _sweep(directory, b"" if has_ended else identity)


def _sweep(directory: Path, identity: bytes) -> None:
    from stream.runtime.run_dir import has_run, kill_processes, restore_identity, sweep

    restore_identity(directory, identity)
    deadline = time.monotonic() + _TIMEOUT_S
    # A part that is about to end may still hold the lock it inherited.
    while has_run(directory) and time.monotonic() < deadline:
        kill_processes(directory)
        if not sweep(directory):
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
