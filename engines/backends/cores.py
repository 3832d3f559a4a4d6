"""How many processor cores this process may use, for ``threads=auto``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

__all__ = ["BEST_BATCH", "Threads", "count_cores"]

Threads = int | Literal["auto"]
"""CPU threads of a network; ``auto`` for as many as its backend can use on this machine."""

BEST_BATCH = 4
"""Rows in one run on one core. A second and a third save what a run costs by itself; the feature maps of many do not
fit the core's cache: PP-TinyPose at 256x192 takes a quarter more time for each person in runs of 16 than in runs of 4,
and no network was faster in larger runs (``python -m benchmarks.batches`` measures it)."""

_GROUP_OF_PROCESS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def count_cores() -> int:
    """The cores that this process may run on, less where a container's quota is smaller; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_quota(_GROUP_OF_PROCESS, _GROUPS)
    return allowed if quota is None else max(1, min(allowed, round(quota)))


def read_quota(process: Path, groups: Path) -> float | None:
    """The least quota, in cores, of a process's control group and of those around it (cgroup v2); None without one.

    ``process`` is its ``/proc/…/cgroup`` and ``groups`` where the hierarchy is mounted.
    """
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return None
    nested = (groups / own, *(groups / own).parents)
    quotas = [quota for group in nested if group.is_relative_to(groups) and (quota := _read_limit(group)) is not None]
    return min(quotas, default=None)


def _read_limit(group: Path) -> float | None:
    """``cpu.max`` of one group holds microseconds of processor time and the period, or ``max`` and the period."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
