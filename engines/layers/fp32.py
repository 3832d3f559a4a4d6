"""Sampling coordinates are computed in float32 even under autocast (``docs/explanation/precision.md``).

A bfloat16 has 8 bits of significand: on a map 96 cells wide it rounds a coordinate to a quarter of a cell, which is a
pixel of the crop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Disable autocast on ``device`` if it is enabled."""
    # Only if it is enabled: an export would record the region as a part of the network.
    return torch.autocast(device.type, enabled=False) if is_autocast_on(device) else nullcontext()


def is_autocast_on(device: torch.device) -> bool:
    """Whether autocast is enabled; always False for devices without autocast, such as ``meta``."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def in_float32(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer(x)``, computed in float32 under autocast and unchanged otherwise."""
    if not is_autocast_on(x.device):
        return layer(x)
    with no_autocast(x.device):
        return layer(x.float())


class OffsetConv2d(nn.Conv2d):
    """A convolution that predicts sampling offsets: autocast leaves it in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return in_float32(super().forward, x)
