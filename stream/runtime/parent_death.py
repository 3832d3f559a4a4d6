"""No process outlives the one it serves: a parent that is killed takes its children with it.

Two means, since neither does everything: Linux kills a child whose parent has died, even one that is stopped; a pipe of
which the parent holds the other end tells on any system, and is closed however the parent ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1

GONE = 70
"""Exit code of a process that ended because its parent had gone."""


def die_with_parent(parent_pid: int, pipe: int) -> None:
    """End this process, at once and without a word, when the parent ends; ``pipe`` is the reading end of its pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before it was asked for
            os._exit(GONE)
    threading.Thread(target=_wait_for_end, args=(pipe,), name="lifeline", daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os._exit(GONE)
