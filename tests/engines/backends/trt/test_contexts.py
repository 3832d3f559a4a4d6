"""The primary context is current while a call runs, and nowhere else."""

from __future__ import annotations

import threading

import pytest

from tests.engines.backends.trt.simulated import Simulation


def test_it_is_current_inside_the_block_alone(simulated: Simulation) -> None:
    contexts = simulated.module("contexts")
    with contexts.current():
        with contexts.current():
            assert len(simulated.gpu.stack) == 2
        assert len(simulated.gpu.stack) == 1
    assert simulated.gpu.stack == []


def test_a_failure_leaves_no_context_current(simulated: Simulation) -> None:
    with pytest.raises(ValueError, match="ours"), simulated.module("contexts").current():
        raise ValueError("ours")
    assert simulated.gpu.stack == []


def test_all_threads_share_one(simulated: Simulation) -> None:
    contexts = simulated.module("contexts")
    seen: list[object] = []

    def look() -> None:
        with contexts.current():
            seen.append(simulated.gpu.stack[-1])

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len({id(context) for context in seen}) == 1
