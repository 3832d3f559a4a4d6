"""Runs side by side: every thread helps, none holds up the others, and the results are those of one thread."""

from __future__ import annotations

import threading

import pytest

from engines.errors import EngineError
from engines.inference.side_by_side import SideBySide


@pytest.fixture
def pair() -> SideBySide:
    both = SideBySide()
    both.open(2)
    return both


def test_results_keep_the_order_of_the_items(pair: SideBySide) -> None:
    assert pair.map(lambda number: number * number, range(50)) == [number * number for number in range(50)]
    assert pair.map(str, []) == []
    pair.close()


def test_two_items_are_worked_on_at_the_same_time(pair: SideBySide) -> None:
    both_here = threading.Barrier(2, timeout=20)
    assert sorted(pair.map(lambda _: both_here.wait(), range(2))) == [0, 1]
    pair.close()


def test_a_thread_that_gets_no_core_holds_up_nothing(pair: SideBySide) -> None:
    assert pair._helpers is not None
    free = threading.Event()
    busy = pair._helpers.submit(free.wait)  # as if it waited for a core
    assert pair.map(lambda _: threading.get_ident(), range(4)) == [threading.get_ident()] * 4
    free.set()
    assert busy.result(20)
    pair.close()


def test_the_first_failure_is_raised_when_all_is_done(pair: SideBySide) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number % 2:
            raise EngineError(f"run {number} failed")

    with pytest.raises(EngineError, match="run 1 failed"):
        pair.map(work, range(6))
    assert sorted(done) == [0, 1, 2, 3, 4, 5]
    pair.close()


def test_it_is_opened_and_closed_more_than_once(pair: SideBySide) -> None:
    before = threading.active_count()
    pair.open(2)
    pair.map(abs, range(4))
    pair.close()
    pair.close()
    assert threading.active_count() <= before
    assert pair.map(abs, [-1, -2]) == [1, 2]  # closed, the caller's thread does all
    pair.open(2)
    assert pair.map(abs, [-1, -2]) == [1, 2]
    pair.close()
