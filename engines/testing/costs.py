"""The cost of a network, counted on the network itself: parameters, multiply-accumulates and feature maps.

GMAC counts convolutions, matrix products and the matrix products of deformable convolutions, for one person. (GFLOPs in
the papers are multiply-accumulates too, counted by thop, which omits deformable convolutions.) Build the network on
PyTorch's meta device, where only shapes are computed, and the largest one takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engines.models.temporal import TemporalModel
from engines.spec.network import Cost


def count_gmac(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result of ``function`` and its 10^9 multiply-accumulates."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = function()
    return result, counter.get_total_flops() / 2e9


def measure_cost(model: nn.Module, input_size: tuple[int, int]) -> Cost:
    """The cost per person of ``model``, on any device, for crops of ``input_size`` (width, height) px.

    Sets ``model`` to evaluation mode.
    """
    width, height = input_size
    model.eval()
    parameters = sum(p.numel() for p in model.parameters())
    crop = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    if not isinstance(model, TemporalModel):
        _, whole = count_gmac(lambda: model(crop))
        return Cost(parameters=parameters, backbone_gmac=round(whole, 3))
    features, backbone = count_gmac(lambda: model.backbone(crop))
    t = len(model.frames)
    window = tuple(torch.stack([f] * t, dim=1) for f in features)
    _, head = count_gmac(lambda: model.head(window))
    keeps = tuple((f.shape[1], f.shape[2], f.shape[3]) for f in features)
    return Cost(parameters=parameters, backbone_gmac=round(backbone, 3), head_gmac=round(head, 3), keeps=keeps)
