"""A step in a process of its own: with a time limit, its output in a log, its end as one line whatever it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from engines.spec.cache import CACHE_VARIABLE
from export.gpu_selftest.chain import Step
from export.gpu_selftest.child import Order
from export.gpu_selftest.results import SEND_US, Result, Work

LIMIT_S = 600.0
_LOG_LINES = 30


def attempt(step: Step, work: Work, limit_s: float = LIMIT_S) -> Result:
    """Run ``step``; its process and all that this started is ended when this returns or raises.

    Raises nothing but KeyboardInterrupt.
    """
    began_s = time.monotonic()
    answer, log = work.folder / f"{step.name}.answer", work.folder / f"{step.name}.log"
    code = _run(step, work, (answer, log), limit_s)
    result = _answered(step, answer, log, code, limit_s)
    return msgspec.structs.replace(result, seconds=round(time.monotonic() - began_s, 2))


def _run(step: Step, work: Work, files: tuple[Path, Path], limit_s: float) -> int | None:
    """The exit code; None where the time was up."""
    answer, log = files
    order = Order(step=step, folder=str(work.folder), network=work.network, answer=str(answer))
    # -P: a file of the user's that is called like a library must not be taken for it.
    command = [sys.executable, "-P", "-m", "export.gpu_selftest.child", msgspec.json.encode(order).decode()]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_environment(work),
            start_new_session=True,  # Ctrl-C is for us alone, and what it starts can be ended with it
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _environment(work: Work) -> dict[str, str]:
    """Kernels are compiled anew, into a cache that goes with the folder."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, CACHE_VARIABLE: str(work.folder / "cache")}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _answered(step: Step, answer: Path, log: Path, code: int | None, limit_s: float) -> Result:
    last = _last_lines(log)
    if code is None:
        return _failed(step, f"not done after {limit_s:g} s", "give it more with --limit, or " + SEND_US, last)
    try:
        result = msgspec.json.decode(answer.read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        words = last.rpartition("\n")[2][:200]
        return _failed(
            step, f"its process {_ended(code)}" + (f"; its last words: {words}" if words else ""), SEND_US, last
        )
    return msgspec.structs.replace(result, log=last) if result.state == "failed" else result


def _failed(step: Step, why: str, remedy: str, log: str) -> Result:
    return Result(step=step.name, title=step.title, state="failed", told=why, remedy=remedy, log=log)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with {code} and without an answer"
    return f"was ended by {signal.Signals(-code).name}"


def _last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LOG_LINES:])
