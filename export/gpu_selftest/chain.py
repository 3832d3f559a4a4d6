"""Steps in order: one that fails keeps only those from running that need it, and Ctrl-C keeps what is known."""

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
    """All results in order of the steps, and whether the user had enough."""

    results: tuple[Result, ...]
    interrupted: bool = False

    def count(self, state: str) -> int:
        """How many steps ended so."""
        return sum(result.state == state for result in self.results)

    def passed(self, *names: str) -> bool:
        """True where nothing failed, nobody interrupted, and the steps ``names`` passed."""
        ok = {result.step for result in self.results if result.state == "ok"}
        return not self.interrupted and not self.count("failed") and ok.issuperset(names)


def run(steps: Sequence[Step], attempt: Attempt, told: Callable[[Result], None] = lambda _: None) -> Outcome:
    """Attempt every step whose needs passed; ``told`` hears each result at once."""
    results: dict[str, Result] = {}
    try:
        for result in _attempted(steps, attempt, results):
            results[result.step] = result
            told(result)
    except KeyboardInterrupt:
        left = (skipped(step, "interrupted") for step in steps if step.name not in results)
        return Outcome((*results.values(), *left), interrupted=True)
    return Outcome(tuple(results.values()))


def _attempted(steps: Sequence[Step], attempt: Attempt, results: dict[str, Result]) -> Iterator[Result]:
    whys: dict[str, str] = {}
    for step in steps:
        lacking = [results[need] for need in step.needs if results[need].state != "ok"]
        if lacking:
            # Of what was skipped itself, the reason why: that is what has to be mended.
            whys[step.name] = whys.get(lacking[0].step) or _needs(lacking[0])
        yield skipped(step, whys[step.name]) if lacking else attempt(step)


def _needs(lacking: Result) -> str:
    return f"needs '{lacking.title}', which {'was not run' if lacking.state == 'not run' else 'failed'}"


def skipped(step: Step, why: str) -> Result:
    """A result for a step that nobody began."""
    return Result(step=step.name, title=step.title, state="not run", told=why)
