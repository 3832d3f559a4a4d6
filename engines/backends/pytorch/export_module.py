"""The parts of an export as modules: a network with normalisation and decoding, pixels in, points out.

    fused     crops (N, T, H, W, 3) uint8  ->  points (N, K, 3)
    backbone  crops (N, H, W, 3) uint8     ->  maps (N, C, h, w), several                   once per frame
    head      maps (N, T, C, h, w), oldest first  ->  points                            once per key frame

Graphs are exported from these modules (``export.graph.wrappers``), and the backend ``torch`` runs them. They also
return ``heatmaps`` (N, K, h, w), with which an export is measured; :func:`make_part` leaves them out.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engines.layers.decoding import Decoding, Points
from engines.models.temporal import Features, TemporalModel
from engines.spec.signature import Signature


class Pixels(nn.Module):
    """Normalises pixels (…, H, W, 3) uint8 BGR to (…, 3, H, W) float32 in the network's colour order."""

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
    """Backbone and head in one module, on whole windows."""

    def __init__(self, model: nn.Module, pixels: nn.Module, points: nn.Module) -> None:
        super().__init__()
        self.model, self.pixels, self.points = model, pixels, points

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        planes = self.pixels(crops)
        heatmaps = self.model(planes if isinstance(self.model, TemporalModel) else planes.flatten(0, 1))
        return self.points(heatmaps), heatmaps


class Backbone(nn.Module):
    """Feature maps of single frames."""

    def __init__(self, model: TemporalModel, pixels: nn.Module) -> None:
        super().__init__()
        self.model, self.pixels = model, pixels

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        return self.model.backbone(self.pixels(crops))


class Head(nn.Module):
    """Points from the feature maps of a window."""

    def __init__(self, model: TemporalModel, points: nn.Module) -> None:
        super().__init__()
        self.model, self.points = model, points

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        heatmaps = self.model.head(maps)
        return self.points(heatmaps), heatmaps


class RoundedMaps(TemporalModel):
    """A network that rounds feature maps to ``kept_type``, so that caching them does not change the result."""

    def __init__(self, model: TemporalModel, kept_type: torch.dtype) -> None:
        super().__init__(model.frames)
        self.model, self.kept_type = model, kept_type

    def backbone(self, crops: Tensor) -> Features:
        return tuple(maps.to(self.kept_type).float() for maps in self.model.backbone(crops))

    def head(self, window: Features) -> Tensor:
        return self.model.head(window)


class ExportedPart(nn.Module):
    """A part with the inputs and outputs of its graph: separate maps of ``kept_type``, and no heatmaps."""

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
    """The module that decodes heatmaps (N, K, h, w) to points (N, K, 3) as in the graphs of this Signature."""
    decoding = cast(Decoding, signature.notes.get("decoding", "heatmap"))
    return Points(decoding, signature.input_size, signature.blur_px)


def make_part(part: str, model: nn.Module, signature: Signature) -> ExportedPart:
    """``part``, one of ``fused``, ``backbone`` and ``head``, of a network with weights, in evaluation mode."""
    pixels = Pixels(signature) if signature.pixel == "uint8" else nn.Identity()
    kept_type = torch.float16 if signature.kept_type == "float16" else torch.float32
    if part == "fused":
        whole = RoundedMaps(model, kept_type) if isinstance(model, TemporalModel) else model
        return ExportedPart(Fused(whole, pixels, make_decoder(signature)), kept_type).eval()
    temporal = cast(TemporalModel, model)
    is_backbone = part == "backbone"
    module = Backbone(temporal, pixels) if is_backbone else Head(temporal, make_decoder(signature))
    return ExportedPart(module, kept_type).eval()
