"""The cores that a process may use: those of the machine, of its affinity, and of a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.backends import cores
from engines.backends.cores import count_cores, read_quota


def make_groups(folder: Path, limits: dict[str, str], own: str = "0::/outer/inner\n") -> tuple[Path, Path]:
    """Control groups as Linux mounts them: ``/`` has no ``cpu.max``."""
    process, groups = folder / "cgroup", folder / "groups"
    process.write_text(own)
    (groups / "outer/inner").mkdir(parents=True)
    for group, limit in limits.items():
        (groups / group / "cpu.max").write_text(limit)
    return process, groups


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, None),
        ({"outer/inner": "max 100000\n"}, None),
        ({"outer/inner": "150000 100000\n"}, 1.5),
        ({"outer/inner": "400000 100000\n", "outer": "200000 100000\n"}, 2.0),
        ({"outer/inner": "max 100000\n", "outer": "50000 100000\n"}, 0.5),
        ({"outer/inner": "garbage"}, None),
    ],
)
def test_the_least_quota_of_the_groups_around_counts(
    tmp_path: Path, limits: dict[str, str], quota: float | None
) -> None:
    assert read_quota(*make_groups(tmp_path, limits)) == quota


def test_without_groups_of_version_2_there_is_no_quota(tmp_path: Path) -> None:
    assert read_quota(tmp_path / "missing", tmp_path) is None
    assert read_quota(*make_groups(tmp_path, {"outer/inner": "50000 100000"}, own="4:cpu:/outer/inner\n")) is None


@pytest.mark.parametrize(("quota", "count"), [(None, 6), (2.0, 2), (2.6, 3), (0.3, 1), (64.0, 6)])
def test_the_smaller_of_affinity_and_quota_counts(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "read_quota", lambda *_: quota)
    assert count_cores() == count
