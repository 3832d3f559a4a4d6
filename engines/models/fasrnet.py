"""FaSRnet: a Feature and Semantics Refinement network for video human pose estimation (Zhong et al., 2023).

    features F and heatmaps H of the current frame t and of auxiliary frames t±1 (HRNet each)
      FRM  F^a_1..F^a_3 = DCN of F_t±1 with dilations 5, 3, 1, each guided by the one before       Eqs. 1-5
           F^a = DCN of F_t±1, guided by F_t and F^a_3                                             Eqs. 6, 7
           S = sigmoid(θ1(F^a) ⊙ θ2(F_t));  F' = CNN(F^a ⊙ S);  H_r = 1×1(CNN(F'_t+1 ⊕ F_t ⊕ F'_t-1))  Eqs. 8-10
      SRM  differences H_r - H_t±1 and H_r guide a DCN (dilation 1) of H_a = CNN(H_t-1 ⊕ H_r ⊕ H_t+1)  Eqs. 11-16

What the text leaves open is decided here: leaky ReLU with slope 0.1 after every convolution (the released code's), and
sigmoid modulation (DCNv2, which is cited). Where text and equations disagree, the equations hold: branches 2 and 3
join F^a with O_0 (Eq. 4), and the last one warps the auxiliary feature (Eq. 7); warping the current one aligns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d, deform_conv2d
from engines.layers.fp32 import in_float32
from engines.layers.rsb import rsb_chain
from engines.layers.softmax_heatmaps import heatmap_layer
from engines.models.dcpose import PCN_DILATIONS, DeformHeatmaps
from engines.models.hrnet import W48, HRNet, HRNetConfig
from engines.models.temporal import Features, TemporalModel, initialise, neighbours

OffsetMaps = Literal["matching", "flat"]
"""Whether offset maps have the size of the features, or are cut to it as in the released code."""


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.1, everywhere in this network."""
    return F.leaky_relu(x, 0.1)


def conv3(cin: int, cout: int) -> nn.Conv2d:
    """3×3 with bias, size kept."""
    return nn.Conv2d(cin, cout, 3, padding=1)


class GuidedDeformConv(nn.Module):
    """A modulated deformable convolution (one offset group) whose maps are computed from a guide: DCNv2, with sigmoid.

    ``x, guide (B, C, h, w) -> (B, C, h, w)``.
    """

    def __init__(self, channels: int, dilation: int, offset_maps: OffsetMaps = "matching") -> None:
        super().__init__()
        self.dilation, self.offset_maps = dilation, offset_maps
        self.deform = DeformConv2d(channels, channels, padding=dilation, dilation=dilation)
        self.conv_offset_mask = nn.Conv2d(channels, 27, 3)

    def maps(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, 18, h, w) px and modulation (B, 9, h, w) in 0..1."""
        h, w = guide.shape[2:]
        dilation = self.dilation if self.offset_maps == "matching" else 1
        weight, bias = self.conv_offset_mask.weight, self.conv_offset_mask.bias
        both = in_float32(lambda x: F.conv2d(x, weight, bias, padding=self.dilation, dilation=dilation), guide)
        # With dilation 1 and padding 5 or 3 the maps are larger than the input; the released kernel reads their first
        # h·w·C numbers as if they had its size.
        return self._as_size(both[:, :18], h, w), self._as_size(torch.sigmoid(both[:, 18:]), h, w)

    @staticmethod
    def _as_size(maps: Tensor, h: int, w: int) -> Tensor:
        b, c = maps.shape[:2]
        return maps.reshape(b, -1)[:, : c * h * w].reshape(b, c, h, w)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        offset, mask = self.maps(guide)
        d = self.dilation
        return deform_conv2d(x, offset, self.deform.weight, self.deform.bias, mask, padding=d, dilation=d)


class FeatureAlignment(nn.Module):
    """Sec. 3.1.1: ``auxiliary, current (B, C, h, w) -> (B, C, h, w)``, the auxiliary feature aligned with the current.

    ``branches`` are (scale, dilation): the paper's three share a scale, EDVR's pyramid (Table 6, PCDA) has 4, 2 and 1.
    """

    DILATED = ((1, 5), (1, 3), (1, 1))
    PYRAMID = ((4, 1), (2, 1), (1, 1))

    def __init__(self, channels: int, branches: tuple[tuple[int, int], ...] = DILATED) -> None:
        super().__init__()
        self.scales = [scale for scale, _ in branches]
        self.base = conv3(2 * channels, channels)
        self.guides = nn.ModuleList(conv3(2 * channels, channels) for _ in branches)
        self.deforms = nn.ModuleList(GuidedDeformConv(channels, dilation) for _, dilation in branches)
        self.last_guide = conv3(2 * channels, channels)
        self.last_deform = GuidedDeformConv(channels, 1)

    def forward(self, auxiliary: Tensor, current: Tensor) -> Tensor:
        base = lrelu(self.base(torch.cat((current, auxiliary), dim=1)))  # Eq. 1
        aligned = auxiliary
        for scale, guide, deform in zip(self.scales, self.guides, self.deforms, strict=True):
            x = _shrink(auxiliary, scale)
            before = torch.cat((_resize(aligned, x), _shrink(base, scale)), dim=1)
            aligned = lrelu(deform(x, lrelu(guide(before))))  # Eqs. 2-5
        guide = lrelu(self.last_guide(torch.cat((current, aligned), dim=1)))  # Eq. 6
        return lrelu(self.last_deform(auxiliary, guide))  # Eq. 7


def _shrink(x: Tensor, scale: int) -> Tensor:
    return x if scale == 1 else F.avg_pool2d(x, scale)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[2:]
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class AttentionFusion(nn.Module):
    """Sec. 3.1.2: ``current (B, C, h, w), n auxiliary ones -> (B, C, h, w)``; without ``attention``, Eq. 10 alone."""

    def __init__(self, channels: int, auxiliaries: int, *, attention: bool = True) -> None:
        super().__init__()
        self.attention = attention
        if attention:
            self.embed_auxiliary, self.embed_current = conv3(channels, channels), conv3(channels, channels)
            self.refine = conv3(channels, channels)
        self.fuse = conv3((auxiliaries + 1) * channels, channels)

    def similarity(self, auxiliary: Tensor, current: Tensor) -> Tensor:
        """S of Eq. 8, (B, C, h, w) in 0..1."""
        return torch.sigmoid(self.embed_auxiliary(auxiliary) * self.embed_current(current))

    def forward(self, current: Tensor, auxiliaries: Sequence[Tensor]) -> Tensor:
        if self.attention:
            auxiliaries = [lrelu(self.refine(one * self.similarity(one, current))) for one in auxiliaries]  # Eq. 9
        return lrelu(self.fuse(torch.cat((current, *auxiliaries), dim=1)))


class SemanticsRefinement(DeformHeatmaps):
    """Sec. 3.2: ``refined (B, J, h, w), n auxiliary ones -> (B, J, h, w)``, all heatmaps."""

    def __init__(self, joints: int, auxiliaries: int, dilations: tuple[int, ...] = (1,), channels: int = 64) -> None:
        super().__init__(joints, dilations, channels)
        frames = auxiliaries + 1
        self.differences = nn.ModuleList(rsb_chain(joints, joints, blocks=1) for _ in range(auxiliaries))
        self.join_differences = rsb_chain(frames * joints, frames * joints, blocks=1)
        self.merge = conv3(frames * joints, joints)
        self.guide = conv3((frames + 1) * joints, channels)

    def forward(self, refined: Tensor, auxiliaries: Sequence[Tensor]) -> Tensor:
        pairs = zip(self.differences, auxiliaries, strict=True)
        differences = [block(refined - heatmaps) for block, heatmaps in pairs]  # Eqs. 11, 12
        d_a = self.join_differences(torch.cat((refined, *differences), dim=1))  # Eq. 13
        h_a = self.merge(torch.cat((refined, *auxiliaries), dim=1))  # Eq. 14
        guide = lrelu(self.guide(torch.cat((d_a, h_a), dim=1)))  # Eq. 15
        return self.deform_heatmaps(h_a, guide, sigmoid=True)  # Eq. 16


class FaSRnet(TemporalModel):
    """The network of the paper: ``(B, T, 3, H, W) -> (B, J, H/4, W/4)``. Keeps C + J maps a frame.

    Switches of the ablations: ``features=False`` (Table 7, w/o FR), ``alignment`` (Table 6: None, PCDA, FDA),
    ``attention=False`` (Table 6, w/o Att), ``semantics`` (Table 6: None in all its rows but the first; Table 7, SMD:
    "multiple" dilations), ``frames`` (Table 8: one auxiliary frame).

    ``initial="gaussian"`` draws every added weight from N(0, 0.001), as Sec. 4.1 says. The alignment does not learn
    then: in micro size its first branch has had no gradient above 1e-11 after 80 steps of Adam
    (``benchmarks/results/learning.md``), since each reaches the loss through five products with such weights. So by
    default layers begin as PyTorch draws them, and deformable convolutions as the identity.
    """

    def __init__(
        self,
        hrnet: HRNetConfig = W48,
        frames: Sequence[int] = (-1, 0, 1),
        *,
        features: bool = True,
        alignment: Literal["dilated", "pyramid"] | None = "dilated",
        attention: bool = True,
        semantics: Literal["single", "multiple"] | None = "single",
        initial: Literal["identity", "gaussian"] = "identity",
    ) -> None:
        super().__init__(frames)
        width, joints, auxiliaries = hrnet.width, hrnet.joints, len(self.frames) - 1
        self.hrnet = HRNet(hrnet)
        self.align = nn.ModuleList()
        if features:
            if alignment is not None:
                branches = FeatureAlignment.DILATED if alignment == "dilated" else FeatureAlignment.PYRAMID
                self.align.extend(FeatureAlignment(width, branches) for _ in range(auxiliaries))
            self.fusion = AttentionFusion(width, auxiliaries, attention=attention)
            self.final_layer = heatmap_layer(width, joints, 1, hrnet.sigma)
        self.features = features
        dilations = (1,) if semantics == "single" else PCN_DILATIONS
        self.semantics = None if semantics is None else SemanticsRefinement(joints, auxiliaries, dilations)
        self.reset_parameters(initial)

    def reset_parameters(self, initial: Literal["identity", "gaussian"] = "identity") -> None:
        """Initialise what is added to the backbone."""
        for name, added in self.named_children():
            if name != "hrnet":
                _draw_gaussian(added) if initial == "gaussian" else _begin_as_identity(added)

    def backbone(self, crops: Tensor) -> Features:
        features = self.hrnet.features(crops)
        return features, self.hrnet.final_layer(features)

    def refine(self, window: Features) -> tuple[Tensor, Tensor]:
        """Both outputs (B, J, h, w), for training: H_r of Eq. 10 and the refined heatmaps of Eq. 16."""
        features, heatmaps = window
        refined = self._refine_features(features) if self.features else heatmaps[:, self.key]
        if self.semantics is None:
            return refined, refined
        return refined, self.semantics(refined, neighbours(heatmaps, self.key))

    def _refine_features(self, features: Tensor) -> Tensor:
        current, auxiliaries = features[:, self.key], neighbours(features, self.key)
        if self.align:
            auxiliaries = [align(one, current) for align, one in zip(self.align, auxiliaries, strict=True)]
        refined: Tensor = self.final_layer(self.fusion(current, auxiliaries))
        return refined

    def head(self, window: Features) -> Tensor:
        return self.refine(window)[1]


def _draw_gaussian(added: nn.Module) -> None:
    """Sec. 4.1: every weight from N(0, 0.001), every bias 0."""
    initialise(added)
    for layer in added.modules():
        if isinstance(layer, DeformConv2d):
            nn.init.normal_(layer.weight, std=0.001)


def _begin_as_identity(added: nn.Module) -> None:
    """Deformable convolutions begin as the identity, with hardly any offset and modulation of ½."""
    for layer in added.modules():
        if isinstance(layer, DeformConv2d):
            nn.init.dirac_(layer.weight)  # type: ignore[arg-type]
            layer.weight.data *= 2
        if isinstance(layer, GuidedDeformConv):
            initialise(layer.conv_offset_mask, std=0.01)
        if isinstance(layer, SemanticsRefinement):
            initialise(layer.offsets, std=0.01)
            initialise(layer.masks, std=0.01)
