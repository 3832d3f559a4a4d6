"""The table of a campaign."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import quantiles
from typing import Any

from benchmarks.faults.kinds import KINDS
from benchmarks.reporting import describe_machine


def make_table(results: list[dict[str, Any]], command: str, not_run: dict[str, str]) -> str:
    """Faults by kind: how many, in how many trials, in how many of these something was wrong, and recovery."""
    total = sum(len(result["faults"]) for result in results)
    wrong = sum(bool(result["violations"]) for result in results)
    minutes = sum(result.get("seconds", 0.0) for result in results) / 60
    rows = [
        f"{total} faults, {len(results)} trials, {wrong} with violations, {minutes:.0f} min; {describe_machine()}",
        f"`{command}`",
        "",
        "| group | fault | faults | trials | with violations | recovery of live lines p50, s | p95, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, kind in sorted(KINDS.items(), key=lambda item: (item[1].group, item[0])):
        rows.append(f"| {kind.group} | {name} | {_count(results, name) if name not in not_run else not_run[name]} |")
    rows += ["", _split(results, "files", is_live=False), _split(results, "live", is_live=True)]
    return "\n".join(rows)


def _count(results: list[dict[str, Any]], name: str) -> str:
    trials = [result for result in results if any(one["fault"]["kind"] == name for one in result["faults"])]
    faults = [one for result in trials for one in result["faults"] if one["fault"]["kind"] == name]
    wrong = sum(bool(result["violations"]) for result in trials)
    recovery = [one["recovery_s"] for one in faults if one["recovery_s"] is not None]
    return f"{len(faults)} | {len(trials)} | {wrong} | {_percentile(recovery, 50)} | {_percentile(recovery, 95)}"


def _percentile(values: list[float], percent: int) -> str:
    if not values:
        return "—"
    return f"{quantiles([*values, *values], n=100, method='inclusive')[percent - 1]:.2f}"


def _split(results: Iterable[dict[str, Any]], name: str, *, is_live: bool) -> str:
    own = [result for result in results if result.get("scenario", {}).get("is_live") is is_live]
    wrong = sum(bool(result["violations"]) for result in own)
    recovery = [one["recovery_s"] for result in own for one in result["faults"] if one["recovery_s"] is not None]
    back = f"; back after p50 {_percentile(recovery, 50)} s, p95 {_percentile(recovery, 95)} s" if is_live else ""
    return f"{name}: {len(own)} trials, {sum(len(one['faults']) for one in own)} faults, {wrong} with violations{back}"
