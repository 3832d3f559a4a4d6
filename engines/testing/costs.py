"""What a network costs: parameters, multiply-accumulates and bytes kept, counted on the network itself.

GMAC are convolutions, matrix products and the matrix product of deformable convolutions, for one person. (What the
papers call GFLOPs is multiply-accumulates too, counted by thop, which leaves deformable convolutions out.) Only shapes
are computed, on PyTorch's meta device, so that counting the largest network takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engines.models.temporal import TemporalModel
from engines.spec.network import Cost


def gmac(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of ``function`` and the 10^9 multiply-accumulates it took."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = function()
    return result, counter.get_total_flops() / 2e9


def measure(model: nn.Module, input_size: tuple[int, int]) -> Cost:
    """``input_size`` (width, height) px of a crop; ``model`` may live on any device. Leaves it in evaluation mode."""
    width, height = input_size
    model.eval()
    parameters = sum(p.numel() for p in model.parameters())
    crop = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    if not isinstance(model, TemporalModel):
        _, whole = gmac(lambda: model(crop))
        return Cost(parameters=parameters, backbone_gmac=round(whole, 3))
    features, backbone = gmac(lambda: model.backbone(crop))
    t = len(model.frames)
    window = tuple(torch.stack([f] * t, dim=1) for f in features)
    _, head = gmac(lambda: model.head(window))
    keeps = tuple((f.shape[1], f.shape[2], f.shape[3]) for f in features)
    return Cost(parameters=parameters, backbone_gmac=round(backbone, 3), head_gmac=round(head, 3), keeps=keeps)
