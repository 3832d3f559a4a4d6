"""Runs a step in a process of its own, with a time limit and a log; however it ends, there is a result in one line."""

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


def run_isolated(step: Step, work: Work, limit_s: float = LIMIT_S) -> Result:
    """Run ``step``. Its process and everything that it started are ended when this returns or raises.

    Raises only KeyboardInterrupt.
    """
    began_s = time.monotonic()
    answer, log = work.folder / f"{step.name}.result", work.folder / f"{step.name}.log"
    code = _run(step, work, (answer, log), limit_s)
    result = _read_result(step, answer, log, code, limit_s)
    return msgspec.structs.replace(result, seconds=round(time.monotonic() - began_s, 2))


def _run(step: Step, work: Work, files: tuple[Path, Path], limit_s: float) -> int | None:
    """The exit code; None after the time limit."""
    answer, log = files
    order = Order(step=step, folder=str(work.folder), network=work.network, result=str(answer))
    # -P: a file of the user's with the name of a library must not shadow it.
    command = [sys.executable, "-P", "-m", "export.gpu_selftest.child", msgspec.json.encode(order).decode()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_make_environment(work),
            start_new_session=True,  # Ctrl-C does not reach it, and what it starts can be killed with it
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _make_environment(work: Work) -> dict[str, str]:
    """With a cache in the work folder, so that kernels are compiled again."""
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


def _read_result(step: Step, answer: Path, log: Path, code: int | None, limit_s: float) -> Result:
    last = _read_last_lines(log)
    if code is None:
        return _make_failure(
            step, f"not finished after {limit_s:g} s", "allow more time with --limit, or " + SEND_US, last
        )
    try:
        result = msgspec.json.decode(answer.read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        words = last.rpartition("\n")[2][:200]
        return _make_failure(
            step, f"its process {_describe_exit(code)}" + (f"; last output: {words}" if words else ""), SEND_US, last
        )
    return msgspec.structs.replace(result, log=last) if result.state == "failed" else result


def _make_failure(step: Step, reason: str, remedy: str, log: str) -> Result:
    return Result(step=step.name, title=step.title, state="failed", message=reason, remedy=remedy, log=log)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with {code} and without a result"
    return f"was ended by {signal.Signals(-code).name}"


def _read_last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LOG_LINES:])
