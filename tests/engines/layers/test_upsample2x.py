"""Bicubic up-sampling by two equals the general one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from engines.layers.upsample2x import kernel, upsample2x  # noqa: E402


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 7)])
def test_it_equals_the_general_resampling(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, *size) * 10
    theirs = torch.nn.functional.interpolate(maps[None], scale_factor=2, mode="bicubic", align_corners=False)[0]
    # Sums of 25 products of float32 in another order, of values up to 40.
    torch.testing.assert_close(upsample2x(maps), theirs, rtol=1e-5, atol=2e-5)


def test_a_flat_map_stays_flat() -> None:
    assert kernel().sum(dim=(1, 2, 3)).tolist() == [1, 1, 1, 1]
