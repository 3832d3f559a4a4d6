"""Heatmaps that are distributions keep the scale and the names of published ones."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from engines.layers.softmax_heatmaps import SoftmaxHeatmaps, heatmap_layer  # noqa: E402


def test_every_map_sums_to_the_volume_of_its_gaussian() -> None:
    layer = SoftmaxHeatmaps(8, 3, 3, sigma=1.5)
    maps = layer(torch.randn(2, 8, 12, 9))
    assert maps.shape == (2, 3, 12, 9)
    torch.testing.assert_close(maps.sum((2, 3)), torch.full((2, 3), 2 * math.pi * 1.5**2))


def test_a_joint_as_sharp_as_its_target_peaks_at_one() -> None:
    layer = SoftmaxHeatmaps(1, 1, 1, sigma=2.0)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    ys, xs = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
    logits = -((xs - 16) ** 2 + (ys - 16) ** 2) / (2 * 2.0**2)
    # The sum over cells of a Gaussian of 2 cells is its volume to within 1e-8.
    torch.testing.assert_close(layer(logits[None, None])[0, 0], logits.exp(), atol=1e-6, rtol=0)


def test_its_state_dict_is_that_of_a_plain_convolution() -> None:
    plain, soft = heatmap_layer(8, 3, 3, None), heatmap_layer(8, 3, 3, 2.0)
    assert type(plain) is torch.nn.Conv2d
    soft.load_state_dict(plain.state_dict())
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(soft(x).flatten(2).argmax(-1), plain(x).flatten(2).argmax(-1))
