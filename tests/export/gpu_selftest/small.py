"""The smallest temporal network that has all the chain cares for: kept maps, and a deformable layer with offsets that
are computed. It exports in a tenth of the time that the smallest HRNet takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.models.temporal import Features, TemporalModel

ENTRY = """
kind: network
title: 'the smallest that can be cut'
licence: Apache-2.0
network:
  model: small.Small
  input_size: [48, 64]
  window: [-1, 0]
  skeleton: coco17
"""


class Small(TemporalModel):
    """One layer a frame, one deformable layer for a window of two."""

    def __init__(self) -> None:
        super().__init__((-1, 0))
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.offset = nn.Conv2d(16, 18, 3, padding=1)
        self.mask = nn.Conv2d(16, 9, 3, padding=1)
        self.deform = DeformConv2d(8, 8, padding=1)
        self.last = nn.Conv2d(8, 17, 1)

    def backbone(self, crops: Tensor) -> Features:
        return (torch.relu(self.stem(crops)),)

    def head(self, window: Features) -> Tensor:
        (maps,) = window
        both = maps.flatten(1, 2)
        deformed = self.deform(maps[:, 1], self.offset(both), torch.sigmoid(self.mask(both)))
        heatmaps: Tensor = self.last(torch.relu(deformed))
        return heatmaps
