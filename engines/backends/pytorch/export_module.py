"""A network with what stands around it in an export: pixels in, points out, whole or cut for a stream.

    fused     crops (N, T, H, W, 3) uint8  ->  points (N, K, 3)
    backbone  crops (N, H, W, 3) uint8     ->  maps (N, C, h, w), several                   once a frame
    head      maps (N, T, C, h, w), in order of time  ->  points                            once a key frame

The graphs are made of these (``export.graph.wrappers``), and the backend of PyTorch runs them. ``heatmaps`` (N, K, h,
w) stand beside the points while an export is measured; :func:`shipped` is without them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engines.layers.decoding import Decoding, Points
from engines.models.temporal import Features, TemporalModel
from engines.spec.signature import Signature


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


class RoundedMaps(TemporalModel):
    """A network whose whole windows are rounded as kept maps are, so that keeping them changes no number."""

    def __init__(self, model: TemporalModel, kept_type: torch.dtype) -> None:
        super().__init__(model.frames)
        self.model, self.kept_type = model, kept_type

    def backbone(self, crops: Tensor) -> Features:
        return tuple(maps.to(self.kept_type).float() for maps in self.model.backbone(crops))

    def head(self, window: Features) -> Tensor:
        return self.model.head(window)


class Shipped(nn.Module):
    """A part with the inputs and outputs of its graph: maps of ``kept_type``, one by one, and no heatmaps."""

    def __init__(self, part: Fused | Backbone | Head, kept_type: torch.dtype) -> None:
        super().__init__()
        self.part, self.kept_type = part, kept_type

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.part, Backbone):
            return tuple(maps.to(self.kept_type) for maps in self.part(*inputs))
        points, _ = self.part(tuple(maps.float() for maps in inputs)) if self._is_head else self.part(*inputs)
        return (points,)

    @property
    def _is_head(self) -> bool:
        return isinstance(self.part, Head)


def make_decoder(signature: Signature) -> Points:
    """How the graphs of this Signature decode."""
    how = cast(Decoding, signature.notes.get("decoding", "heatmap"))
    return Points(how, signature.input_size, signature.blur_px)


def shipped(part: str, model: nn.Module, signature: Signature) -> Shipped:
    """``part``, one of ``fused``, ``backbone`` and ``head``, of a network that is filled and ready to run."""
    pixels = Pixels(signature) if signature.pixel == "uint8" else nn.Identity()
    kept_type = torch.float16 if signature.kept_type == "float16" else torch.float32
    if part == "fused":
        whole = RoundedMaps(model, kept_type) if isinstance(model, TemporalModel) else model
        return Shipped(Fused(whole, pixels, make_decoder(signature)), kept_type).eval()
    cut = cast(TemporalModel, model)
    half: Backbone | Head = Backbone(cut, pixels) if part == "backbone" else Head(cut, make_decoder(signature))
    return Shipped(half, kept_type).eval()
