"""Steps for the chain that do nothing but end in some way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from engines.errors import EngineError
from export.gpu_selftest.results import AbsentError, FailedError, Found, Work


def good(work: Work, *, result: str = "well") -> Found:
    return Found(result, {"network": work.network})


def absent(work: Work) -> Found:
    raise AbsentError("no flux capacitor is here", "buy one")


def wrong(work: Work) -> Found:
    raise FailedError("2 + 2 is 5", "count again", {"sum": 5})


def refused(work: Work) -> Found:
    raise EngineError("the file is damaged; export it again")


def bug(work: Work) -> Found:
    raise ZeroDivisionError("division\nby zero")


def crash(work: Work) -> Found:
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return Found("never")


def leave(work: Work) -> Found:
    os._exit(7)


def hang(work: Work) -> Found:
    """Starts another process, which hangs as well, and says which."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(work.folder, "pids").write_text(f"{os.getpid()} {other.pid}")
    time.sleep(600)
    return Found("never")
