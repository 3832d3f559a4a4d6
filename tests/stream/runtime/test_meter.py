"""Rates and percentiles, on a clock the test owns."""

from __future__ import annotations

import errno
from unittest.mock import Mock

import psutil
import pytest

from stream.runtime.meter import SPAN_S, Meter, Reading, resident_bytes


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_meter_that_counted_nothing_reads_zero() -> None:
    assert Meter().read() == Reading()


def test_a_meter_looks_back_over_its_span_only() -> None:
    clock = Clock()
    meter = Meter(clock)
    for age_ms in (1000.0, 2000.0):
        meter.count(process_ms=500.0, age_ms=age_ms)
    clock.now_s += SPAN_S + 1
    for age_ms in range(1, 101):
        meter.count(process_ms=2.0, age_ms=float(age_ms))
    assert meter.read() == Reading(
        fps=100 / SPAN_S, process_p50_ms=2.0, process_p95_ms=2.0, age_p50_ms=50.0, age_p95_ms=95.0, items=102
    )


def test_a_young_meter_divides_by_its_own_age() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now_s += 2
    for _ in range(10):
        meter.count(1.0, 1.0)
    assert meter.read().fps == pytest.approx(5.0)  # exact up to rounding: 10 items in 2 s


def test_this_process_has_memory() -> None:
    assert resident_bytes() > 5_000_000  # an interpreter with numpy takes tens of MB


def test_a_part_without_a_free_descriptor_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "Process", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    assert resident_bytes() == 0
