"""What ``posestream doctor --gpu`` calls."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.errors import EngineError
from export.gpu_selftest import report
from export.gpu_selftest.chain import Outcome, Step, run_steps
from export.gpu_selftest.isolation import LIMIT_S, run_isolated
from export.gpu_selftest.progress import Terminal
from export.gpu_selftest.results import Work
from export.gpu_selftest.steps import CHAIN, NETWORK


def check(*, write_to: Path | None = None, limit_s: float = LIMIT_S, network: str = "") -> int:
    """Run the chain, print it and write the report. Returns 0 if everything that could run passed on a GPU, else 1.

    Raises KeyboardInterrupt after Ctrl-C, once the results so far are printed and written, and :class:`EngineError` if
    the report cannot be written.
    """
    if write_to is not None:
        _check_writable(write_to)
    outcome = run_checks(CHAIN, network or NETWORK, limit_s, write_to)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return 0 if outcome.passed("gpu") else 1


def run_checks(steps: Sequence[Step], network: str, limit_s: float, write_to: Path | None) -> Outcome:
    """Run ``steps`` in a temporary folder."""
    terminal = Terminal(len(steps))
    with tempfile.TemporaryDirectory(prefix="posestream-doctor-") as folder:
        work = Work(Path(folder), network)
        outcome = run_steps(
            steps, terminal.with_status(lambda step: run_isolated(step, work, limit_s)), terminal.print_result
        )
    terminal.print_summary(outcome, _write_report(outcome, write_to))
    return outcome


def _check_writable(path: Path) -> None:
    """Fail before minutes of work if the report's folder does not exist."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise EngineError(f"--report {path}: cannot be written; give a file in an existing folder")


def _write_report(outcome: Outcome, write_to: Path | None) -> str:
    if write_to is None:
        return "Write a report to send us with --report FILE"
    report.write_report(outcome, write_to)
    return f"The report is in {write_to}: read it, then attach it to an issue"
