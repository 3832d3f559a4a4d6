"""What ``posestream doctor --gpu`` calls."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.errors import EngineError
from export.gpu_selftest import report
from export.gpu_selftest.chain import Outcome, Step, run
from export.gpu_selftest.isolation import LIMIT_S, attempt
from export.gpu_selftest.progress import Page
from export.gpu_selftest.results import Work
from export.gpu_selftest.steps import CHAIN, NETWORK


def check(*, write_to: Path | None = None, limit_s: float = LIMIT_S, network: str = "") -> int:
    """Run the chain, tell it on stdout, write the report. 0 where all that could run passed on a GPU, else 1.

    Raises KeyboardInterrupt after Ctrl-C, when what is known has been told and written, and :class:`EngineError` where
    the report cannot be written.
    """
    if write_to is not None:
        _check_writable(write_to)
    outcome = checked(CHAIN, network or NETWORK, limit_s, write_to)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return 0 if outcome.passed("gpu") else 1


def checked(steps: Sequence[Step], network: str, limit_s: float, write_to: Path | None) -> Outcome:
    """Run ``steps`` in a folder that is gone afterwards."""
    page = Page(len(steps))
    with tempfile.TemporaryDirectory(prefix="posestream-doctor-") as folder:
        work = Work(Path(folder), network)
        outcome = run(steps, page.watched(lambda step: attempt(step, work, limit_s)), page.row)
    page.end(outcome, _reported(outcome, write_to))
    return outcome


def _check_writable(path: Path) -> None:
    """Minutes of work must not end at a folder that is not there."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise EngineError(f"--report {path}: this cannot be written; give a file in a folder that is there")


def _reported(outcome: Outcome, write_to: Path | None) -> str:
    if write_to is None:
        return "To send it to us: --report FILE"
    report.write(outcome, write_to)
    return f"The report is in {write_to}: read it, and attach it to an issue"
