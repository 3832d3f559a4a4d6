"""Where a sampling reads is computed in float32, whatever autocast does around it (``docs/explanation/precision.md``).

A bfloat16 has 8 bits: a place on a map 96 cells wide is then known to a quarter of a cell, a pixel of the crop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def uncast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast off on this device, where it is on."""
    # Only where it is on: an export would write the region down, as a part of the network.
    return torch.autocast(device.type, enabled=False) if is_on(device) else nullcontext()


def is_on(device: torch.device) -> bool:
    """Whether autocast is; never where there is none, as on ``meta``, whose tensors have shapes alone."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def exactly(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer(x)``, all of it in float32 under autocast."""
    if not is_on(x.device):
        return layer(x)
    with uncast(x.device):
        return layer(x.float())


class PlaceConv2d(nn.Conv2d):
    """The convolution that says where to read: an ordinary one that autocast leaves in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return exactly(super().forward, x)
