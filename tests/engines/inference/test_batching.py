"""Batch sizes, padding and counts of work."""

from __future__ import annotations

import numpy as np
import pytest

from engines.inference.batching import Work, get_batch_size, pad_batch, split_batches
from engines.spec.tensors import Description, Tensor


def make_description(batch: int | None, max_batch: int | None = None) -> Description:
    return Description((Tensor("crops", (batch, 3), "uint8"),), (), "cpu", max_batch=max_batch)


@pytest.mark.parametrize(
    ("batch", "max_batch", "size"), [(None, None, 16), (4, None, 4), (32, None, 32), (None, 8, 8), (None, 64, 16)]
)
def test_a_batch_is_as_large_as_the_network_takes(batch: int | None, max_batch: int | None, size: int) -> None:
    assert get_batch_size(make_description(batch, max_batch), 16) == size


def test_a_fixed_batch_is_padded_with_the_last_row() -> None:
    rows = np.arange(6).reshape(2, 3)
    assert pad_batch(rows, make_description(4)).tolist() == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]
    assert pad_batch(rows, make_description(2)) is rows
    assert pad_batch(rows, make_description(None)) is rows


def test_no_rows_are_no_batch() -> None:
    assert list(split_batches(0, 4)) == []


def test_reused_is_the_share_of_frames_from_the_cache() -> None:
    work = Work()
    assert work.reused == 0
    work.add(people=3, frames=15, computed=15)
    work.add(people=3, frames=15, computed=3)
    assert (work.people, work.reused) == (6, pytest.approx(0.4))
