"""Targets and mean squared errors, against the published functions and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.losses.heatmap import gaussian_heatmaps, heatmap_mse, visible_l2  # noqa: E402


@pytest.mark.parametrize("number", range(4))
def test_errors_equal_the_published_losses(shared: Path, number: int) -> None:
    case = json.loads((shared / "models" / "golden_loss.json").read_text())["cases"][number]
    rng = np.random.Generator(np.random.PCG64(case["seed"]))
    shape = tuple(case["shape"])
    predicted, target = (torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).double() for _ in range(2))
    weights = torch.from_numpy((rng.random((*shape[:2], 1)) > 0.3).astype(np.float64))
    # Both are sums of the same float64 numbers, in another order.
    assert float(heatmap_mse(predicted, target, weights, half=True)) == pytest.approx(
        case["hrnet_JointsMSELoss"], 1e-12
    )
    assert float(heatmap_mse(predicted, target, weights)) == pytest.approx(case["dcpose_fasrnet_JointMSELoss"], 1e-12)
    assert float(heatmap_mse(predicted, target, half=True)) == pytest.approx(case["hrnet_no_weight"], 1e-12)


@pytest.mark.parametrize("number", range(2))
def test_targets_equal_the_published_ones(shared: Path, number: int) -> None:
    case = json.loads((shared / "models" / "golden_decode.json").read_text())["generate_heatmaps"][number]
    joints, visible = torch.tensor(case["joints"]), torch.tensor(case["vis"])
    heatmaps, weights = gaussian_heatmaps(joints, visible, tuple(case["heatmap_wh"]), case["sigma"])
    np.testing.assert_array_equal(weights, case["target_weight"])
    # The published maps are float32, whose rounding a sum over the map repeats.
    np.testing.assert_allclose(heatmaps.sum((1, 2)), case["sum"], rtol=1e-6)
    np.testing.assert_allclose(heatmaps.amax((1, 2)), case["max"], rtol=1e-6)
    for heatmap, (y, _), row in zip(heatmaps, case["argmax_yx"], case["row_through_max"], strict=True):
        np.testing.assert_allclose(heatmap[y], row, atol=1e-7)


def test_a_target_peaks_at_one_on_the_cell_of_its_joint_and_ends_at_three_sigma() -> None:
    (heatmap,), _ = gaussian_heatmaps(torch.tensor([[40.0, 24.0]]), torch.ones(1), (48, 64), sigma=2.0)
    assert float(heatmap[6, 10]) == 1.0
    assert float(heatmap[6, 12]) == pytest.approx(np.exp(-0.5))
    assert float(heatmap[6, 16]) > 0
    assert float(heatmap[6, 17]) == 0


def test_a_joint_far_outside_has_no_target_and_no_weight() -> None:
    heatmaps, weights = gaussian_heatmaps(torch.tensor([[-200.0, 24.0], [40.0, 24.0]]), torch.ones(2), (48, 64), 2.0)
    assert weights.tolist() == [0.0, 1.0]
    assert float(heatmaps[0].abs().sum()) == 0


def maps(*values: float) -> Any:
    """One person's maps of 1x2 cells, a pair of values a joint."""
    return torch.tensor(values).reshape(1, -1, 1, 2)


def test_joints_of_weight_zero_count_in_the_divisor() -> None:
    predicted, target = maps(1.0, 3.0, 5.0, 5.0), maps(0.0, 0.0, 0.0, 0.0)
    weights = torch.tensor([[[1.0], [0.0]]])
    assert float(heatmap_mse(predicted, target, weights)) == (1 + 9) / 4
    assert float(heatmap_mse(predicted, target, weights, half=True)) == (1 + 9) / 8


def test_invisible_joints_do_not_count() -> None:
    predicted, target = maps(1.0, 3.0, 5.0, 5.0), maps(0.0, 0.0, 0.0, 0.0)
    assert float(visible_l2(predicted, target, torch.tensor([[1.0, 0.0]]))) == (1 + 9) / 2 / 2
