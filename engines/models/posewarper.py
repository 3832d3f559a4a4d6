"""PoseWarper: Learning Temporal Pose Estimation from Sparsely Labeled Videos, Bertasius et al., NeurIPS 2019.

heatmaps of 5 frames ─ difference to the key frame's ─ 20 basic blocks ─ offsets for dilations 3, 6, 12, 18, 24
each heatmap is warped to the key frame by the mean of five deformable convolutions (no modulation), then all are
added with weights 0.3 (key), 0.25 (±1) and 0.1 (±2)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.layers.deform_dilated import deform_conv2d_dilated
from engines.layers.fp32 import OffsetConv2d
from engines.layers.residual import BasicBlock
from engines.models.hrnet import W48, HRNet, HRNetConfig
from engines.models.temporal import Features, TemporalModel

DILATIONS = (3, 6, 12, 18, 24)
WEIGHTS = {0: 0.3, -1: 0.25, 1: 0.25, -2: 0.1, 2: 0.1}


class PoseWarper(TemporalModel):
    """``(B, 5, 3, H, W) -> (B, J, H/4, W/4)``. 71,154,350 parameters with HRNet-W48. Keeps J maps a frame."""

    def __init__(self, hrnet: HRNetConfig = W48, channels: int = 128, blocks: int = 20) -> None:
        super().__init__((-2, -1, 0, 1, 2))
        joints = hrnet.joints
        self.hrnet = HRNet(hrnet)
        self.offset_features = nn.Sequential(
            BasicBlock(joints, channels), *(BasicBlock(channels, channels) for _ in range(blocks - 1))
        )
        self.offsets = nn.ModuleList(
            OffsetConv2d(channels, joints * 18, 3, padding=d, dilation=d, bias=False) for d in DILATIONS
        )
        self.deform = nn.ModuleList(
            DeformConv2d(joints, joints, padding=d, dilation=d, offset_groups=joints, bias=False) for d in DILATIONS
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Offsets begin at 0 and deformable convolutions at the identity: the first output is the mean heatmap."""
        for offset, deform in zip(self.offsets, self.deform, strict=True):
            nn.init.zeros_(offset.weight)  # type: ignore[arg-type]
            nn.init.dirac_(deform.weight)  # type: ignore[arg-type]

    def backbone(self, crops: Tensor) -> Features:
        return (self.hrnet(crops),)

    def warp(self, heatmap: Tensor, reference: Tensor) -> Tensor:
        """``heatmap`` of a frame, warped to the ``reference`` frame's; both (B, J, h, w)."""
        phi = self.offset_features(reference - heatmap)
        offsets = [offset(phi) for offset in self.offsets]
        return deform_conv2d_dilated(heatmap, list(self.deform), offsets) / len(self.deform)  # type: ignore[arg-type]

    def head(self, window: Features) -> Tensor:
        (heatmaps,) = window
        b, t = heatmaps.shape[:2]
        reference = heatmaps[:, self.key : self.key + 1].expand_as(heatmaps)
        warped = self.warp(heatmaps.flatten(0, 1), reference.flatten(0, 1)).reshape(b, t, *heatmaps.shape[2:])
        weights = warped.new_tensor([WEIGHTS[frame] for frame in self.frames])
        return torch.einsum("t,btjhw->bjhw", weights, warped)
