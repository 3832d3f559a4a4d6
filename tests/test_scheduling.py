"""A run of the tests ends, whichever worker is lost and whenever, with every other test run once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.scheduling import FileScheduling

TESTS = [f"test_{file:02}.py::test_{number}" for file in range(40) for number in range(1 + file % 3)]


class Worker:
    """Runs its tests one by one; the last one only when no more will come, as a real one does."""

    def __init__(self) -> None:
        self.gateway = SimpleNamespace(id="gw")
        self.shutting_down = False
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    def next(self) -> int | None:
        return self.given.pop(0) if len(self.given) > 1 or (self.given and self.shutting_down) else None


def find_next(scheduler: LoadFileScheduling, workers: list[Worker]) -> tuple[Worker, int] | None:
    """The next test, by the rules of a session; None where all is done, or all wait for ever."""
    if scheduler.tests_finished:
        for worker in workers:
            worker.shutdown()
    return next(((worker, item) for worker in workers if (item := worker.next()) is not None), None)


def run_tests(kind: type[LoadFileScheduling], lost_at: int) -> tuple[list[str], str | None]:
    """The tests that were run by two workers, and the one that its worker, which is replaced, was lost with: the one
    that was to run after ``lost_at`` others."""
    options = SimpleNamespace(loadscopereorder=False)
    config: Any = SimpleNamespace(getvalue=lambda _: ["popen", "popen"], option=options)
    scheduler = kind(config)
    workers = [Worker(), Worker()]

    def add(worker: Worker) -> None:
        scheduler.add_node(cast("Any", worker))
        scheduler.add_node_collection(cast("Any", worker), TESTS)

    for worker in workers:
        add(worker)
    scheduler.schedule()
    ran: list[str] = []
    lost = None
    while found := find_next(scheduler, workers):
        worker, item = found
        if len(ran) == lost_at and lost is None:
            workers.remove(worker)
            lost = scheduler.remove_node(cast("Any", worker))
            workers.append(Worker())
            add(workers[-1])
            scheduler.schedule()
            assert lost == TESTS[item]
            continue
        ran.append(TESTS[item])
        scheduler.mark_test_complete(cast("Any", worker), item)
        workers.append(workers.pop(0))
    return ran, lost


@pytest.mark.parametrize("lost_at", [0, 1, 7, 40, 60, 70, 75, 77, 78])
def test_a_run_ends_without_the_test_that_its_worker_was_lost_with(lost_at: int) -> None:
    ran, lost = run_tests(FileScheduling, lost_at)
    assert sorted([*ran, *filter(None, [lost])]) == sorted(TESTS)


def test_the_scheduler_of_xdist_does_not_end() -> None:
    """Where this fails, pytest-xdist has mended it, and ours can go."""
    ran, _ = run_tests(LoadFileScheduling, 40)
    assert len(set(ran)) < len(TESTS) - 1
