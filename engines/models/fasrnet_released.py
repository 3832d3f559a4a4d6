"""FaSRnet as its authors' code computes it, for their weights; :mod:`engines.models.fasrnet` is the paper's.

    features F and heatmaps H of the previous, current and next frame (HRNet each)
      1. feature refinement: each neighbour is aligned with the current frame in three levels of deformable convolution
         (dilations 5, 3, 1) and a cascade, then fused by temporal and spatial attention ── 1×1 ── H_r
      2. semantics refinement: H_r with the neighbours' heatmaps through DCPose's correction, one dilation

The code differs from the paper in every module, and has two slips that its weights were trained with. Either can be
mended by an option: the offset maps of the dilated levels have the wrong size and are read as flat memory
(``offset_maps="flat"``, per sample), and the modules are called with the current frame in the neighbour's place, so
that the current feature is warped (``align="current"``).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.models.dcpose import PoseCorrection, by_joint
from engines.models.fasrnet import GuidedDeformConv, OffsetMaps, conv3, lrelu
from engines.models.hrnet import W48, HRNet, HRNetConfig
from engines.models.temporal import Features, TemporalModel, initialise

Align = Literal["neighbour", "current"]


class Alignment(nn.Module):
    """Warps ``a`` to ``b`` in three levels and a cascade: ``(B, C, h, w) twice -> (B, C, h, w)``."""

    DILATIONS = (1, 3, 5)

    def __init__(self, channels: int = 48, offset_maps: OffsetMaps = "matching") -> None:
        super().__init__()
        c, levels = channels, self.DILATIONS
        self.offset_conv1 = nn.ModuleList(conv3(2 * c, c) for _ in levels)
        self.offset_conv2 = nn.ModuleList([conv3(2 * c, c), conv3(2 * c, c), conv3(c, c)])
        self.offset_conv3 = nn.ModuleList([conv3(c, c), conv3(c, c)])
        self.dcn = nn.ModuleList(GuidedDeformConv(c, d, offset_maps) for d in levels)
        self.feat_conv = nn.ModuleList([conv3(2 * c, c), conv3(2 * c, c)])
        self.cas_offset_conv1, self.cas_offset_conv2 = conv3(2 * c, c), conv3(c, c)
        self.cas_dcn = GuidedDeformConv(c, 1, offset_maps)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = by_joint(a, b)
        o = lrelu(self.offset_conv2[2](lrelu(self.offset_conv1[2](both))))
        f = lrelu(self.dcn[2](a, o))
        for level in (1, 0):
            o = by_joint(lrelu(self.offset_conv1[level](both)), o)
            o = lrelu(self.offset_conv3[level](lrelu(self.offset_conv2[level](o))))
            f = self.feat_conv[level](by_joint(self.dcn[level](a, o), f))
            f = lrelu(f) if level else f
        o = lrelu(self.cas_offset_conv2(lrelu(self.cas_offset_conv1(by_joint(f, b)))))
        return lrelu(self.cas_dcn(f, o))


class AttentionFusion(nn.Module):
    """Temporal and spatial attention over three aligned features (EDVR, Wang et al. 2019, Sec. 3.3).

    ``(B, 3, C, h, w), current (B, C, h, w) -> (B, C, h, w)``.
    """

    def __init__(self, channels: int = 48, frames: int = 3) -> None:
        super().__init__()
        c = channels
        self.temporal_attn1, self.temporal_attn2 = conv3(c, c), conv3(c, c)
        self.feat_fusion = nn.Conv2d(frames * c, c, 1)
        self.spatial_attn1 = nn.Conv2d(frames * c, c, 1)
        self.spatial_attn2 = nn.Conv2d(2 * c, c, 1)
        self.spatial_attn3 = conv3(c, c)
        self.spatial_attn4 = nn.Conv2d(c, c, 1)
        self.spatial_attn5 = conv3(c, c)
        self.spatial_attn_l1 = nn.Conv2d(c, c, 1)
        self.spatial_attn_l2 = conv3(2 * c, c)
        self.spatial_attn_l3 = conv3(c, c)
        self.spatial_attn_add1 = nn.Conv2d(c, c, 1)
        self.spatial_attn_add2 = nn.Conv2d(c, c, 1)

    def temporal(self, aligned: Tensor, current: Tensor) -> Tensor:
        """Every frame weighted by its similarity to the current one, pixel by pixel: (B, 3C, h, w)."""
        b, t = aligned.shape[:2]
        reference = self.temporal_attn1(current)
        embedding = self.temporal_attn2(aligned.flatten(0, 1)).unflatten(0, (b, t))
        similarity = torch.sigmoid((embedding * reference[:, None]).sum(2, keepdim=True))  # (B, 3, 1, h, w)
        return (aligned * similarity).flatten(1, 2)

    @staticmethod
    def _pools(x: Tensor) -> Tensor:
        return torch.cat((F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)), dim=1)

    @staticmethod
    def _up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, aligned: Tensor, current: Tensor) -> Tensor:
        weighted = self.temporal(aligned, current)
        feature = lrelu(self.feat_fusion(weighted))
        top = lrelu(self.spatial_attn1(weighted))
        half = lrelu(self.spatial_attn2(self._pools(top)))
        quarter = lrelu(self.spatial_attn_l1(half))
        quarter = lrelu(self.spatial_attn_l3(lrelu(self.spatial_attn_l2(self._pools(quarter)))))
        half = lrelu(self.spatial_attn3(half)) + self._up(quarter, half)
        attention = self.spatial_attn5(self._up(lrelu(self.spatial_attn4(half)), top))
        added = self.spatial_attn_add2(lrelu(self.spatial_attn_add1(attention)))
        fused: Tensor = feature * torch.sigmoid(attention) * 2 + added
        return fused


class FaSRnetReleased(TemporalModel):
    """``(B, 3, 3, H, W) -> (B, J, H/4, W/4)``. 65,395,439 parameters with HRNet-W48. Keeps C + J maps a frame."""

    def __init__(self, hrnet: HRNetConfig = W48, *, offset_maps: OffsetMaps = "flat", align: Align = "current") -> None:
        super().__init__((-1, 0, 1))
        self.align = align
        self.hrnet = HRNet(hrnet)
        self.align_previous = Alignment(hrnet.width, offset_maps)
        self.align_next = Alignment(hrnet.width, offset_maps)
        self.fusion = AttentionFusion(hrnet.width)
        self.final_layer = nn.Conv2d(hrnet.width, hrnet.joints, 1)
        self.semantics = PoseCorrection(hrnet.joints, dilations=(1,))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Convolutions N(0, 0.001), deformable ones the identity."""
        initialise(self)
        for layer in self.modules():
            if isinstance(layer, DeformConv2d):
                nn.init.dirac_(layer.weight)

    def backbone(self, crops: Tensor) -> Features:
        features = self.hrnet.features(crops)
        return features, self.hrnet.final_layer(features)

    def _align(self, module: Alignment, neighbour: Tensor, current: Tensor) -> Tensor:
        aligned: Tensor = module(neighbour, current) if self.align == "neighbour" else module(current, neighbour)
        return aligned

    def refine(self, window: Features, margin: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Both outputs (B, J, h, w), for training: after the feature stage (H_r) and after the semantics stage."""
        features, heatmaps = window
        previous, current, following = features.unbind(1)
        aligned = torch.stack(
            (
                self._align(self.align_previous, previous, current),
                current,
                self._align(self.align_next, following, current),
            ),
            dim=1,
        )
        h_r = self.final_layer(self.fusion(aligned, current))
        return h_r, self.semantics(heatmaps[:, 0], h_r, heatmaps[:, 2], margin)

    def head(self, window: Features, margin: Tensor | None = None) -> Tensor:
        """As :class:`TemporalModel`; ``margin`` (B, 2) int, distances in frames where frames are missing."""
        return self.refine(window, margin)[1]
