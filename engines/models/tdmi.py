"""TDMI: Mutual Information-Based Temporal Difference Learning for Human Pose Estimation in Video, Feng et al., 2023.

    F_t+δ^j   features of HRNet's four stages, every frame
      TDE  S_j = consecutive differences (Eq. 1) ─ residual blocks ─ D_j (Eq. 2) ─ DCNv2 ─ D̄_j (Eqs. 3, 4)
           M = Conv(… Conv(Conv(D̄_1) + D̄_2) … + D̄_4) (Eq. 5)
      RDM  M_u = σ(MLP_u(GAP(M))) M,  M_n = σ(MLP_n(GAP(M))) M (Eq. 6)
    [M_u, F_t^4] ─ residual blocks ─ F̃_t ─ 3×3 convolution ─ heatmaps H_t

TDMI-ST puts a spatiotemporal feature of the whole window in the place of F_t^4. No code was ever published; what the
paper leaves open is decided here, once, with reasons:

* *Stage j* is the branch of highest resolution: entering stage 2 (stage 1's 256 channels brought to C by HRNet's own
  transition) and after stages 2, 3, 4. All have C channels at H/4, so that they can be added.
* *S_j* for a window of five frames: its four consecutive differences, in order of time.
* *DCNv2*: 12 offset groups and dilation 3, sigmoid on the scalars, one residual block each for offsets and scalars: as
  in FAMI-Pose, by the same authors.
* *Conv* in Eq. 5, "several 3×3 convolutions": two, each with batch normalisation and ReLU.
* *MLP*: one hidden layer of C/4, ReLU (the usual squeeze and excitation).
* "Several residual blocks" before the head, and for the spatiotemporal feature (all F^4 concatenated): two.

Switches for the ablations: ``fusion`` and ``modulation`` (Table 6), ``factorization`` (Tables 5 and 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from engines.layers.attention import ChannelAttention
from engines.layers.deform_conv import DeformConv2d
from engines.layers.fp32 import OffsetConv2d
from engines.layers.residual import BasicBlock
from engines.layers.softmax_heatmaps import heatmap_layer
from engines.models.hrnet import W48, HRNet, HRNetConfig, conv_bn
from engines.models.temporal import Features, TemporalModel

BLOCKS = (3, 3, 2, 2)
"""Residual blocks that aggregate the differences of stages 1 to 4 (Sec. 3.1)."""

Fusion = Literal["last", "concatenate", "progressive"]
Factorization = Literal["attention", "split", "none"]


def residual_blocks(cin: int, cout: int, number: int) -> nn.Sequential:
    """``number`` basic blocks, the first changing the channels."""
    return nn.Sequential(BasicBlock(cin, cout), *(BasicBlock(cout, cout) for _ in range(number - 1)))


class SpatialModulation(nn.Module):
    """Eqs. 3 and 4: ``D_j (B, C, h, w) -> D̄_j (B, C, h, w)``."""

    def __init__(self, channels: int, offset_groups: int = 12, dilation: int = 3) -> None:
        super().__init__()
        g, d = offset_groups, dilation
        self.offset = nn.Sequential(
            BasicBlock(channels, channels), OffsetConv2d(channels, 18 * g, 3, padding=d, dilation=d)
        )
        self.scalars = nn.Sequential(
            BasicBlock(channels, channels), nn.Conv2d(channels, 9 * g, 3, padding=d, dilation=d)
        )
        self.deform = DeformConv2d(channels, channels, padding=d, dilation=d, offset_groups=g)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Offsets and scalars begin at 0, the convolution as the identity, so that training starts unmodulated."""
        for last in (self.offset[-1], self.scalars[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        nn.init.dirac_(self.deform.weight)

    def forward(self, d_j: Tensor) -> Tensor:
        modulated: Tensor = self.deform(d_j, self.offset(d_j), torch.sigmoid(self.scalars(d_j)))
        return modulated


class TemporalDifferenceEncoder(nn.Module):
    """TDE: four stages of features (B, T, C, h, w) -> the motion M (B, C, h, w)."""

    def __init__(self, channels: int, frames: int, fusion: Fusion = "progressive", *, modulation: bool = True) -> None:
        super().__init__()
        c = channels
        self.fusion = fusion
        self.stages = (3,) if fusion == "last" else (0, 1, 2, 3)
        self.intra = nn.ModuleList(residual_blocks((frames - 1) * c, c, BLOCKS[j]) for j in self.stages)
        self.modulate = nn.ModuleList(SpatialModulation(c) if modulation else nn.Identity() for _ in self.stages)
        self.merge = nn.ModuleList(nn.Sequential(conv_bn(c, c), conv_bn(c, c)) for _ in self.stages)
        if fusion == "concatenate":
            self.merge = nn.ModuleList([nn.Sequential(conv_bn(len(self.stages) * c, c), conv_bn(c, c))])

    @staticmethod
    def differences(f: Tensor) -> Tensor:
        """Eq. 1, concatenated: (B, T, C, h, w) -> (B, (T-1)·C, h, w)."""
        return (f[:, 1:] - f[:, :-1]).flatten(1, 2)

    def forward(self, window: Sequence[Tensor]) -> Tensor:
        stages = [
            modulate(intra(self.differences(window[j])))  # D̄_j
            for j, intra, modulate in zip(self.stages, self.intra, self.modulate, strict=True)
        ]
        if self.fusion == "concatenate":
            merged: Tensor = self.merge[0](torch.cat(stages, dim=1))
            return merged
        m: Tensor = self.merge[0](stages[0])
        for merge, d_j in zip(list(self.merge)[1:], stages[1:], strict=True):
            m = merge(m + d_j)  # Eq. 5
        return m


class Disentanglement(nn.Module):
    """RDM, Eq. 6: ``M (B, C, h, w) -> M_u, M_n (B, C, h, w)``.

    ``split`` (Table 7 c) gives one half of the channels to each and zeros to the other; ``none`` gives all to M_u.
    """

    def __init__(self, channels: int, factorization: Factorization = "attention") -> None:
        super().__init__()
        self.factorization = factorization
        attends = factorization == "attention"
        self.useful = ChannelAttention(channels) if attends else nn.Identity()
        self.noisy = ChannelAttention(channels) if attends else nn.Identity()

    def forward(self, m: Tensor) -> tuple[Tensor, Tensor]:
        if self.factorization == "none":
            return m, torch.zeros_like(m)
        if self.factorization == "split":
            half = torch.arange(m.shape[1], device=m.device)[:, None, None] < m.shape[1] // 2
            return m * half, m * ~half
        return self.useful(m), self.noisy(m)


class TDMI(TemporalModel):
    """``(B, T, 3, H, W) -> (B, J, H/4, W/4)``. Keeps 4·C maps a frame. ``spatiotemporal=True`` is TDMI-ST."""

    def __init__(
        self,
        hrnet: HRNetConfig = W48,
        frames: Sequence[int] = (-2, -1, 0, 1, 2),
        *,
        spatiotemporal: bool = False,
        fusion: Fusion = "progressive",
        modulation: bool = True,
        factorization: Factorization = "attention",
    ) -> None:
        super().__init__(frames)
        c, t = hrnet.width, len(self.frames)
        self.hrnet = HRNet(hrnet)
        self.tde = TemporalDifferenceEncoder(c, t, fusion, modulation=modulation)
        self.rdm = Disentanglement(c, factorization)
        self.appearance = residual_blocks(t * c, c, 2) if spatiotemporal else None
        self.enhance = residual_blocks(2 * c, c, 2)
        self.detect = heatmap_layer(c, hrnet.joints, 3, hrnet.sigma)
        nn.init.normal_(self.detect.weight, std=0.001)
        nn.init.zeros_(self.detect.bias)  # type: ignore[arg-type]

    def backbone(self, crops: Tensor) -> Features:
        return tuple(self.hrnet.stages(crops))

    def features(self, window: Features) -> dict[str, Tensor]:
        """The tensors that Eq. 13 relates, (B, C, h, w) each, and the ``heatmaps``."""
        last = window[-1]
        m = self.tde(window)
        m_u, m_n = self.rdm(m)
        visual = last[:, self.key] if self.appearance is None else self.appearance(last.flatten(1, 2))
        f_tilde = self.enhance(torch.cat((m_u, visual), dim=1))
        return {
            "motion": m,
            "useful": m_u,
            "noisy": m_n,
            "visual": visual,
            "enhanced": f_tilde,
            "heatmaps": self.detect(f_tilde),
        }

    def head(self, window: Features) -> Tensor:
        return self.features(window)["heatmaps"]
