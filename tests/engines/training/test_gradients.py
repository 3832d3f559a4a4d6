"""Gradient norms of loss terms equal those computed one by one, and weights without a gradient are named."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from torch import nn  # noqa: E402

from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.training.gradients import DEAD_AFTER, find_dead_weights, measure_term_norms, term_norms  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)


class TwoTerms(nn.Module):
    """Terms whose gradients by the two weights are known: (3, 4), and (0, 2) times 10."""

    term_weights = {"heatmap": 1.0, "other": 10.0}

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2, bias=False)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: Any) -> Any:
        self.norm(self.layer(x))
        a, b = self.layer.weight[:, 0]
        terms = {"heatmap": 3 * a + 4 * b, "other": 2 * b, "clipped": torch.zeros(())}
        return {**terms, "total": terms["heatmap"] + 10 * terms["other"]}


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_the_norm_of_each_weighted_term_is_measured_and_nothing_changes(scale: float) -> None:
    objective = TwoTerms()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    norms = measure_term_norms(objective, (torch.ones(4, 1),), [objective.layer.weight], scale)
    assert norms == pytest.approx({"heatmap": 5.0, "other": 20.0, "clipped": 0.0})
    assert objective.layer.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_norms_are_found_among_what_a_step_reports() -> None:
    assert term_norms({"total": 1.0, "gradient_norm": 2.0, "gradient/heatmap": 3.0}) == {"heatmap": 3.0}


def train(model: Any, loss: Any, steps: int = DEAD_AFTER) -> Any:
    optimiser = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], 1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    return optimiser


@pytest.mark.parametrize("std", [0.001, None])
def test_the_motion_encoder_of_imapose_as_initialised_in_its_paper_is_named(std: float | None) -> None:
    torch.manual_seed(0)
    model = IMAPose(MICRO, 1, dilations=(1,), std=std)
    model.hrnet.requires_grad_(False)
    features = torch.randn(6, 12, 16, 16)
    optimiser = train(model, lambda: (model.head((model.ise(features).unflatten(0, (2, 3)),)) - 1).square().mean())
    dead = find_dead_weights(model, optimiser)
    assert dead[:2] == ([] if std is None else ["phi", "kme.convolutions.0"])


def test_a_module_that_nothing_reads_is_named_but_for_the_backbones_heatmaps() -> None:
    model = nn.ModuleDict({"hrnet": nn.Linear(2, 2), "unused": nn.Sequential(nn.Linear(2, 2)), "read": nn.Linear(2, 1)})
    optimiser = train(model, lambda: model["read"](torch.ones(1, 2)).square().sum())
    assert find_dead_weights(model, optimiser) == ["unused"]


def test_one_dead_layer_of_a_module_is_named_alone_and_a_frozen_one_is_not() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 1), nn.Linear(2, 2))
    model[2].requires_grad_(False)
    optimiser = train(model, lambda: model[1](model[0][0](torch.ones(1, 2))).sum())
    assert find_dead_weights(model, optimiser) == ["0.1"]
