"""DCPose: Deep Dual Consecutive Network for Human Pose Estimation, Liu et al., CVPR 2021.

    heatmaps P, C, N of the previous, current and next frame (HRNet each)
      ├─ PTM  pose temporal merger     [C, P·w_p, N·w_n] a joint ── RSB ──────────── merged pose  (B, J, h, w)
      ├─ PRF  pose residual fusion     [C−P, (C−P)·w_p, C−N, (C−N)·w_n] a joint ── 2 RSB ── residuals (B, 2J, h, w)
      └─ PCN  pose correction network  both ── 2 RSB ── offsets and modulation for dilations 3, 6, 9, 12, 15;
                                       mean of the five deformable convolutions of the merged pose

The weights w are greater for nearer neighbours: w_p = d_n / (d_p + d_n), with distances d in frames. Numbers that the
paper leaves open are those of the authors' code; the modulation carries no sigmoid there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.layers.deform_dilated import deform_conv2d_dilated
from engines.layers.fp32 import OffsetConv2d
from engines.layers.rsb import rsb_chain
from engines.models.hrnet import W48, HRNet, HRNetConfig
from engines.models.temporal import Features, TemporalModel, initialise

PCN_DILATIONS = (3, 6, 9, 12, 15)


def nearness(margin: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """w_p and w_n, (B, 1, 1, 1), from distances (B, 2) to the previous and the next frame; a half each when None."""
    if margin is None:
        half = like.new_full((1, 1, 1, 1), 0.5)
        return half, half
    d = margin.to(like.dtype)
    w_p, w_n = d[:, 1] / d.sum(1), d[:, 0] / d.sum(1)
    return w_p.reshape(-1, 1, 1, 1), w_n.reshape(-1, 1, 1, 1)


def by_joint(*maps: Tensor) -> Tensor:
    """Interleave maps (B, J, h, w) so that the maps of one joint are adjacent: (B, n·J, h, w)."""
    return torch.stack(maps, dim=2).flatten(1, 2)


class DeformHeatmaps(nn.Module):
    """The mean of deformable convolutions of heatmaps, one a dilation; offsets and modulation come from a guide."""

    def __init__(self, joints: int, dilations: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.offsets = nn.ModuleList(
            OffsetConv2d(channels, joints * 18, 3, padding=d, dilation=d, bias=False) for d in dilations
        )
        self.masks = nn.ModuleList(
            nn.Conv2d(channels, joints * 9, 3, padding=d, dilation=d, bias=False) for d in dilations
        )
        self.deform = nn.ModuleList(
            DeformConv2d(joints, joints, padding=d, dilation=d, offset_groups=joints) for d in dilations
        )

    def deform_heatmaps(self, heatmaps: Tensor, guide: Tensor, *, sigmoid: bool = False) -> Tensor:
        """``heatmaps (B, J, h, w), guide (B, channels, h, w) -> (B, J, h, w)``; ``sigmoid`` limits the modulation."""
        offsets, masks = [offset(guide) for offset in self.offsets], [mask(guide) for mask in self.masks]
        masks = [torch.sigmoid(mask) for mask in masks] if sigmoid else masks
        deformed = deform_conv2d_dilated(heatmaps, list(self.deform), offsets, masks)  # type: ignore[arg-type]
        return deformed / len(self.deform)


class PoseCorrection(DeformHeatmaps):
    """PTM, PRF and PCN: from three heatmaps (B, J, h, w) each to the corrected ones (B, J, h, w)."""

    def __init__(self, joints: int = 17, dilations: tuple[int, ...] = PCN_DILATIONS, channels: int = 64) -> None:
        super().__init__(joints, dilations, channels)
        self.prf = rsb_chain(4 * joints, 2 * joints, blocks=2)
        self.ptm = rsb_chain(3 * joints, joints, blocks=1)
        self.combine = rsb_chain(3 * joints, channels, blocks=2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Convolutions N(0, 0.001); deformable ones begin as the identity, so that training starts from the pose."""
        initialise(self)
        for deform in self.deform:
            nn.init.dirac_(deform.weight)  # type: ignore[arg-type]

    def forward(self, previous: Tensor, current: Tensor, following: Tensor, margin: Tensor | None = None) -> Tensor:
        w_p, w_n = nearness(margin, current)
        a, b = current - previous, current - following
        residuals = self.prf(by_joint(a, a * w_p, b, b * w_n))  # (B, 2J, h, w)
        merged = self.ptm(by_joint(current, previous * w_p, following * w_n))  # (B, J, h, w)
        z = self.combine(torch.cat((residuals, merged), dim=1))  # (B, 64, h, w)
        return self.deform_heatmaps(merged, z)


class DCPose(TemporalModel):
    """``(B, 3, 3, H, W) -> (B, J, H/4, W/4)``. 65,198,798 parameters with HRNet-W48. Keeps J maps a frame."""

    def __init__(self, hrnet: HRNetConfig = W48, channels: int = 64) -> None:
        """``channels``: width of the features that offsets and modulation are computed from."""
        super().__init__((-1, 0, 1))
        self.hrnet = HRNet(hrnet)
        self.correction = PoseCorrection(hrnet.joints, channels=channels)

    def backbone(self, crops: Tensor) -> Features:
        return (self.hrnet(crops),)

    def head(self, window: Features, margin: Tensor | None = None) -> Tensor:
        """As :class:`TemporalModel`; ``margin`` (B, 2) int, distances in frames where frames are missing."""
        (heatmaps,) = window
        result: Tensor = self.correction(heatmaps[:, 0], heatmaps[:, 1], heatmaps[:, 2], margin)
        return result
