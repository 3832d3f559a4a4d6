"""The judge of temporal networks: ``check_model`` says, in one line, which promise is broken."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.models.temporal import Features, TemporalModel

TOLERANCE = 1e-5
"""Of the largest heatmap value: convolutions over a batch of another size may add in another order."""


def check_model(model: TemporalModel, size: tuple[int, int], seed: int = 0) -> None:
    """Raise ``AssertionError`` unless ``head(window of cached features) == model(window of crops)``.

    The features are computed one frame at a time, in a shuffled order of arrival, as a stream would; ``size`` is
    (height, width) of a crop. Weights are drawn at random, so that no term of the network can hide at zero.
    """
    generator = torch.Generator().manual_seed(seed)
    _scatter(model.eval(), generator)
    t = len(model.frames)
    crops = torch.randn(2, t, 3, *size, generator=generator)
    with torch.no_grad():
        whole = model(crops)
        streamed = model.head(_arriving(model, crops, generator))
    assert whole.std() > 0, "heatmaps are constant: the network ignores what it is given"
    error = float((streamed - whole).abs().max() / whole.abs().max())
    assert error <= TOLERANCE, (
        f"heatmaps of cached features differ from the whole window's by {error:.1e} of their range"
    )
    assert whole.shape[0] == 2, f"heatmaps {tuple(whole.shape)} are not one set a person"


def _scatter(model: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            spread = (2 / fan) ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)


def _arriving(model: TemporalModel, crops: Tensor, generator: torch.Generator) -> Features:
    kept: dict[int, Features] = {}
    for index in torch.randperm(crops.shape[1], generator=generator).tolist():
        kept[index] = model.backbone(crops[:, index])
    ordered = [kept[index] for index in range(crops.shape[1])]
    return tuple(torch.stack(maps, dim=1) for maps in zip(*ordered, strict=True))
