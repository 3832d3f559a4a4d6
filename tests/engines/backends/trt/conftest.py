"""A simulated GPU on which nothing may be left behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.engines.backends.trt.simulated import Simulation, simulation


@pytest.fixture
def simulated() -> Iterator[Simulation]:
    """The backend upon simulated libraries; fails the test if something stays on the GPU or dies out of its context."""
    with simulation() as made:
        yield made
        if made.gpu.leftovers:
            gc.collect()  # what a test's own exceptions still refer to
        assert made.gpu.leftovers == {}
        assert made.gpu.strays == []
        assert made.gpu.stack == []
