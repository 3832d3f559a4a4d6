"""A network with what stands around it in an export: pixels in, points out, whole or cut for a stream.

    fused     crops (N, T, H, W, 3) uint8  ->  points (N, K, 3)
    backbone  crops (N, H, W, 3) uint8     ->  maps (N, C, h, w), several                   once a frame
    head      maps (N, T, C, h, w), in order of time  ->  points                            once a key frame

The graphs are made of these (``export.graphs``), and the backend of PyTorch runs them. ``heatmaps`` (N, K, h, w) stand
beside the points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.models.temporal import TemporalModel
from engines.signature import Signature


class Pixels(nn.Module):
    """The crop's own pixels, (…, H, W, 3) uint8, blue first, as the network wants them: (…, 3, H, W) float32."""

    def __init__(self, signature: Signature) -> None:
        super().__init__()
        order = [2, 1, 0] if signature.colour == "rgb" else [0, 1, 2]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("mean", torch.tensor(signature.mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(signature.std).reshape(3, 1, 1), persistent=False)
        self.order: Tensor
        self.mean: Tensor
        self.std: Tensor

    def forward(self, crops: Tensor) -> Tensor:
        planes = crops.movedim(-1, -3).index_select(crops.dim() - 3, self.order)
        return (planes.to(torch.float32) - self.mean) / self.std


class Fused(nn.Module):
    """A whole window at once."""

    def __init__(self, model: nn.Module, pixels: nn.Module, points: nn.Module) -> None:
        super().__init__()
        self.model, self.pixels, self.points = model, pixels, points

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        planes = self.pixels(crops)
        heatmaps = self.model(planes if isinstance(self.model, TemporalModel) else planes.flatten(0, 1))
        return self.points(heatmaps), heatmaps


class Backbone(nn.Module):
    """One frame: what is kept of it."""

    def __init__(self, model: TemporalModel, pixels: nn.Module) -> None:
        super().__init__()
        self.model, self.pixels = model, pixels

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return self.model.backbone(self.pixels(crops))


class Head(nn.Module):
    """A window of what was kept."""

    def __init__(self, model: TemporalModel, points: nn.Module) -> None:
        super().__init__()
        self.model, self.points = model, points

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        heatmaps = self.model.head(maps)
        return self.points(heatmaps), heatmaps
