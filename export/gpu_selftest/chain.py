"""Runs steps in order: a failed step skips only those that need it, and Ctrl-C keeps the results so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from export.gpu_selftest.results import Result


@dataclass(frozen=True)
class Step:
    """One step: ``call`` names its function as ``module:function``, ``needs`` the steps that must have passed."""

    name: str
    title: str
    call: str
    needs: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


Attempt = Callable[[Step], Result]
"""Runs a step; raises nothing but KeyboardInterrupt."""


@dataclass(frozen=True)
class Outcome:
    """All results in order of the steps, and whether the user interrupted."""

    results: tuple[Result, ...]
    interrupted: bool = False

    def count(self, state: str) -> int:
        """How many steps ended so."""
        return sum(result.state == state for result in self.results)

    def passed(self, *names: str) -> bool:
        """True if nothing failed or was interrupted, and the steps ``names`` passed."""
        ok = {result.step for result in self.results if result.state == "ok"}
        return not self.interrupted and not self.count("failed") and ok.issuperset(names)


def run_steps(steps: Sequence[Step], attempt: Attempt, on_result: Callable[[Result], None] = lambda _: None) -> Outcome:
    """Run every step whose needs passed; ``on_result`` is called with each result."""
    results: dict[str, Result] = {}
    try:
        for result in _attempt_all(steps, attempt, results):
            results[result.step] = result
            on_result(result)
    except KeyboardInterrupt:
        remaining = (skip(step, "interrupted") for step in steps if step.name not in results)
        return Outcome((*results.values(), *remaining), interrupted=True)
    return Outcome(tuple(results.values()))


def _attempt_all(steps: Sequence[Step], attempt: Attempt, results: dict[str, Result]) -> Iterator[Result]:
    reasons: dict[str, str] = {}
    for step in steps:
        missing = [results[need] for need in step.needs if results[need].state != "ok"]
        if missing:
            # If that was itself skipped, its own reason: that is what has to be repaired.
            reasons[step.name] = reasons.get(missing[0].step) or _explain(missing[0])
        yield skip(step, reasons[step.name]) if missing else attempt(step)


def _explain(missing: Result) -> str:
    return f"needs '{missing.title}', which {'was not run' if missing.state == 'not run' else 'failed'}"


def skip(step: Step, reason: str) -> Result:
    """The result of a step that did not run."""
    return Result(step=step.name, title=step.title, state="not run", message=reason)
