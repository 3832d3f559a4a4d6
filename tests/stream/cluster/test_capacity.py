"""What many cameras need, by calculation; and the page that says it."""

from __future__ import annotations

import dataclasses

from benchmarks import placement
from benchmarks.capacity import PAGE, Costs, Part, Recorded, calculate, fill, make_tables, read


def make_recorded(ms: float = 30.0, memory_mb: float = 100.0) -> Recorded:
    """Three parts, of which each takes ``ms`` a frame and ``memory_mb``."""
    parts = (*(Part(name, ms, memory_mb) for name in ("source", "detect", "pose")), Part("links", 10.0))
    costs = Costs("a machine", 1.0, 3.0, parts, 80.0, frames_mb=20.0, shared_source_mb=5.0)
    outcome = placement.Outcome(100, 4, 0.01, 1.1, 30, 0.02, 0, 1.1, 36, 0.01)
    return Recorded(costs, 1840, 0.5, (dataclasses.asdict(outcome),))


def test_a_camera_takes_its_parts_and_its_share_of_the_lane() -> None:
    camera = calculate(make_recorded(), 10, shares_sources=False)
    assert round(camera.cores, 6) == 1.0
    assert round(camera.memory_mb, 6) == 300 + 20 + 80 / 4
    assert round(calculate(make_recorded(), 10).memory_mb, 6) == 100 / 4 + 5 + 200 + 20 + 80 / 4
    assert round(camera.mbit, 6) == 4 + 1840 * 8 * 10 / 1e6


def test_the_least_limit_counts_and_lanes_are_whole() -> None:
    slow, large = calculate(make_recorded(), 10), calculate(make_recorded(ms=0.1, memory_mb=2000.0), 1)
    assert slow.limits["cores"] == 12
    assert slow.lanes_a_host == 3
    assert min(large.limits, key=lambda name: large.limits[name]) == "memory"
    assert calculate(make_recorded(), 50).lanes_a_host == 0
    assert "| 100 | 25 | 9 |" in make_tables(make_recorded())


def test_the_page_has_the_tables_of_what_was_recorded() -> None:
    page, tables = PAGE.read_text(), make_tables(read())
    assert tables in page
    assert fill(page, tables) == page
    assert "other" in fill(page, "other")
