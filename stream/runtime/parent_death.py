"""Ends a child process when its parent ends, even if the parent is killed.

There are two means, since neither is enough. Linux kills a child whose parent has died, even one that is stopped. A
pipe whose other end the parent holds works on any system: it closes however the parent ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1

PARENT_ENDED = 70
"""Exit code of a process that ended because its parent had."""


def die_with_parent(parent_pid: int, pipe: int) -> None:
    """End this process at once when the parent ends; ``pipe`` is the reading end of the parent's pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the call above
            os._exit(PARENT_ENDED)
    threading.Thread(target=_wait_for_end, args=(pipe,), name="lifeline", daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os._exit(PARENT_ENDED)
