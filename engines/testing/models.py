"""``check_model``: conformance tests for temporal networks, :class:`engines.models.temporal.TemporalModel`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.models.temporal import Features, TemporalModel

TOLERANCE = 1e-5
"""Relative to the largest heatmap value; another batch size may change the order of sums."""


def check_model(model: TemporalModel, size: tuple[int, int], seed: int = 0) -> None:
    """Raise ``AssertionError`` unless ``head(cached features) == model(window of crops)``.

    Features are computed one frame at a time, in shuffled order. ``size`` is (height, width) px of a crop. Overwrites
    the weights of ``model`` with random ones, so that no term of the network is hidden by zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    _randomise_weights(model.eval(), generator)
    t = len(model.frames)
    crops = torch.randn(2, t, 3, *size, generator=generator)
    with torch.no_grad():
        whole = model(crops)
        cached = model.head(_compute_features(model, crops, generator))
    assert whole.std() > 0, "heatmaps are constant: the network ignores its input"
    error = float((cached - whole).abs().max() / whole.abs().max())
    assert error <= TOLERANCE, (
        f"heatmaps of cached features differ from the whole window's by {error:.1e} of their range"
    )
    assert whole.shape[0] == 2, f"heatmaps {tuple(whole.shape)}: expected one set for each of 2 people"


def _randomise_weights(model: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            spread = (2 / fan) ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)


def _compute_features(model: TemporalModel, crops: Tensor, generator: torch.Generator) -> Features:
    features: dict[int, Features] = {}
    for index in torch.randperm(crops.shape[1], generator=generator).tolist():
        features[index] = model.backbone(crops[:, index])
    ordered = [features[index] for index in range(crops.shape[1])]
    return tuple(torch.stack(maps, dim=1) for maps in zip(*ordered, strict=True))
