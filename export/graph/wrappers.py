"""The graphs exported of a network: one for a whole window, and two for a stream, with pixels in and points out.

    fused     crops (N, T, H, W, 3) uint8  ->  points (N, K, 3)
    backbone  crops (N, H, W, 3) uint8     ->  maps_0, maps_1, … (N, C, h, w)          once per frame
    head      maps_0, maps_1, … (N, T, C, h, w), in order of time  ->  points          once per key frame

With ``float32`` input crops are (N, T, 3, H, W) and (N, 3, H, W), normalised by the caller. ``heatmaps``
(N, K, h, w) are a second output while an export is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.backends.pytorch.export_module import Backbone, Fused, Head, Pixels
from engines.layers.decoding import Points
from engines.models.temporal import TemporalModel
from engines.spec.manifest import Part
from engines.spec.signature import Pixel, Signature

EXAMPLES = 2
"""Batch size while tracing. Not 1, which the exporter would take for a constant."""


@dataclass(frozen=True)
class Graph:
    """A module to export, its inputs while it is traced, and the names of its inputs and outputs."""

    part: Part
    module: nn.Module
    example: Sequence[Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def takes_tuple(self) -> bool:
        """True if the module takes one tuple of maps."""
        return isinstance(self.module, Head)


def kept_shapes(model: nn.Module, input_size: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    """(C, h, w) of every map that is cached for a frame; none for a network of a single frame."""
    if not isinstance(model, TemporalModel):
        return ()
    with torch.no_grad():
        maps = model.backbone(torch.zeros(1, 3, input_size[1], input_size[0]))
    shapes = (tuple(map(int, kept.shape[1:])) for kept in maps)
    return tuple((channels, height, width) for channels, height, width in shapes)


def make_graphs(model: nn.Module, signature: Signature, points: Points) -> Iterator[Graph]:
    """The graphs of a network, one after the other: fused, and for a temporal one backbone and head."""
    pixels = Pixels(signature) if signature.pixel == "uint8" else nn.Identity()
    whole = _make_example(signature.pixel, (EXAMPLES, *signature.input_shape))
    yield Graph("fused", Fused(model, pixels, points).eval(), (whole,), ("crops",), ("points", "heatmaps"))
    if not isinstance(model, TemporalModel):
        return
    names = tuple(f"maps_{i}" for i in range(len(signature.keeps)))
    yield Graph("backbone", Backbone(model, pixels).eval(), (whole[:, 0].clone(),), ("crops",), names)
    window = [torch.zeros(EXAMPLES, signature.frames, *shape) for shape in signature.keeps]
    yield Graph("head", Head(model, points).eval(), window, names, ("points", "heatmaps"))


def _make_example(pixel: Pixel, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8 if pixel == "uint8" else torch.float32)
