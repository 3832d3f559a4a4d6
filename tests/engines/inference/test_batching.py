"""Batch sizes, padding and counts of work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engines.inference.batching import Work, pad_batch, plan_batches, split_batches
from engines.spec.tensors import Description, Tensor


def make_description(batch: int | None, threads: int = 1, **limits: Any) -> Description:
    made = Description((Tensor("crops", (batch, 3), "uint8"),), (), "cpu", side_by_side=threads)
    return replace(made, **limits)


@pytest.mark.parametrize(
    ("batch", "limits", "size"),
    [
        (None, {}, 16),
        (4, {}, 4),
        (32, {}, 32),
        (None, {"max_batch": 8}, 8),
        (None, {"max_batch": 64}, 16),
        (None, {"max_batch": 64, "best_batch": 4}, 4),
        (None, {"max_batch": 2, "best_batch": 4}, 2),
        (8, {"best_batch": 4}, 8),
    ],
)
def test_a_batch_is_as_large_as_the_network_takes_and_gains_from(
    batch: int | None, limits: dict[str, int], size: int
) -> None:
    assert plan_batches(3 * size, make_description(batch, **limits), 16)[0] == slice(0, size)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (1, None, [1]),
        (2, None, [1, 1]),
        (3, None, [2, 1]),
        (33, None, [9, 8, 8, 8]),  # three runs would leave one of two threads idle in the end
        (3, 1, [1, 1, 1]),
        (5, 4, [3, 2]),
    ],
)
def test_threads_that_run_side_by_side_share_the_rows_unless_the_batch_is_fixed(
    count: int, batch: int | None, sizes: list[int]
) -> None:
    batches = plan_batches(count, make_description(batch, threads=2), 16)
    assert [rows.stop - rows.start for rows in batches] == sizes
    assert [row for rows in batches for row in range(count)[rows]] == list(range(count))


def test_a_fixed_batch_is_padded_with_the_last_row() -> None:
    rows = np.arange(6).reshape(2, 3)
    assert pad_batch(rows, make_description(4)).tolist() == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]
    assert pad_batch(rows, make_description(2)) is rows
    assert pad_batch(rows, make_description(None)) is rows


def test_no_rows_are_no_batch() -> None:
    assert split_batches(0, 4, shares=2) == []


def test_reused_is_the_share_of_frames_from_the_cache() -> None:
    work = Work()
    assert work.reused == 0
    work.add(people=3, frames=15, computed=15)
    work.add(people=3, frames=15, computed=3)
    assert (work.people, work.reused) == (6, pytest.approx(0.4))
