"""Batches prepared ahead of time."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.training.batches import Prefetcher  # noqa: E402


def test_the_next_batch_is_prepared_while_this_one_is_used() -> None:
    begun: list[int] = []

    def make(step: int) -> Any:
        begun.append(step)
        return step

    with Prefetcher(make, end=3) as batches:
        given: list[Any] = [batches(step) for step in range(3)]
    assert (given, begun) == ([0, 1, 2], [0, 1, 2])

    def broken(step: int) -> Any:
        raise EngineError(f"picture {step}")

    with Prefetcher(broken, end=3) as batches, pytest.raises(EngineError, match="picture 0"):
        batches(0)
