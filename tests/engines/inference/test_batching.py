"""Batches: as large as the network takes, filled up where it takes no fewer."""

from __future__ import annotations

import numpy as np
import pytest

from engines.inference.batching import Work, get_batch_size, pad_batch, split_batches
from engines.spec.tensors import Description, Tensor


def described(batch: int | None, max_batch: int | None = None) -> Description:
    return Description((Tensor("crops", (batch, 3), "uint8"),), (), "cpu", max_batch=max_batch)


@pytest.mark.parametrize(
    ("batch", "max_batch", "size"), [(None, None, 16), (4, None, 4), (32, None, 32), (None, 8, 8), (None, 64, 16)]
)
def test_a_run_is_as_large_as_the_network_takes(batch: int | None, max_batch: int | None, size: int) -> None:
    assert get_batch_size(described(batch, max_batch), 16) == size


def test_a_network_of_fixed_batch_gets_the_last_row_again() -> None:
    rows = np.arange(6).reshape(2, 3)
    assert pad_batch(rows, described(4)).tolist() == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]
    assert pad_batch(rows, described(2)) is rows
    assert pad_batch(rows, described(None)) is rows


def test_nothing_is_no_run() -> None:
    assert list(split_batches(0, 4)) == []


def test_what_was_reused_is_what_needed_no_backbone() -> None:
    work = Work()
    assert work.reused == 0
    work.add(people=3, frames=15, computed=15)
    work.add(people=3, frames=15, computed=3)
    assert (work.people, work.reused) == (6, pytest.approx(0.4))
