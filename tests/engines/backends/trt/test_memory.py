"""The primary context is current while a call runs, and nowhere else."""

from __future__ import annotations

import threading

import pytest

from tests.engines.backends.trt.simulated import Simulation


def test_it_is_current_inside_the_block_alone(simulated: Simulation) -> None:
    memory = simulated.module("memory")
    with memory.primary_context():
        with memory.primary_context():
            assert len(simulated.gpu.stack) == 2
        assert len(simulated.gpu.stack) == 1
    assert simulated.gpu.stack == []


def test_a_failure_leaves_no_context_current(simulated: Simulation) -> None:
    with pytest.raises(ValueError, match="ours"), simulated.module("memory").primary_context():
        raise ValueError("ours")
    assert simulated.gpu.stack == []


def test_all_threads_share_one(simulated: Simulation) -> None:
    memory = simulated.module("memory")
    seen: list[object] = []

    def look() -> None:
        with memory.primary_context():
            seen.append(simulated.gpu.stack[-1])

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len({id(context) for context in seen}) == 1
