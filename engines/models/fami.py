"""FAMI-Pose: Temporal Feature Alignment and Mutual Information Maximization for Video-Based Human Pose Estimation,
Liu, Feng, Chen, Wu, Gao, Gao, Wang, CVPR 2022.

    z_t+δ ──┬── GTM  global transformation  Θ = φ(z_t ⊕ z_t+δ) ∈ R^2×3          Eq. 1      ── z̄_t+δ  coarse
    z_t   ──┴── LCM  local calibration      O, M from (z̄_t+δ ⊕ z_t), then DCNv2  Eqs. 2, 3  ── z̃_t+δ  fine
    z̃_t = z_t + Σ z̃_t+δ  ── stack of 3×3 convolutions ── heatmaps Ĥ_t                       Sec. 3.1

The key frame's feature only steers the alignment; it never flows into an aligned feature, so that the mutual
information between the two means something (engines/losses/mutual_information.py).

:class:`FAMIPose` is the paper. What it leaves open, decided here:

* φ: a residual block, five strided convolutions, 3×3 average pooling (so that any input size fits), three linear
  layers; Θ is the identity plus what they say, in coordinates where the map spans -1 … 1. Shared by all supporting
  frames.
* LCM: one residual block each for O and for M, 12 offset groups, dilation 3 (as released); M passes a sigmoid, as in
  DCNv2. Shared by all supporting frames.
* Detection head: two 3×3 convolutions with batch normalisation and ReLU, and a 3×3 convolution to the joints.

:class:`FAMIPoseReleased` is the authors' code (``Alignment_V15``), which differs: a translation instead of Θ, all
four supporting frames fused before one chain of four deformable convolutions (no sigmoid), concatenation instead of
addition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.layers.fp32 import OffsetConv2d, in_float32, no_autocast
from engines.layers.residual import BasicBlock
from engines.layers.softmax_heatmaps import heatmap_layer
from engines.models.hrnet import W48, HRNet, HRNetConfig, conv_bn
from engines.models.temporal import Features, TemporalModel, initialise, neighbours

OFFSET_GROUPS = 12
DILATION = 3


def strided_conv(channels: int) -> nn.Sequential:
    """3×3, stride 2, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def sample_affine(x: Tensor, theta: Tensor) -> Tensor:
    """Eq. 1: the feature (N, C, h, w) read at Θ (N, 2, 3) · (x̄, ȳ, 1), bilinearly, zeros outside.

    Coordinates run from -1 at the left or top edge of the map to 1 at the other.
    """
    _, _, h, w = x.shape
    ys = (torch.arange(h, dtype=theta.dtype, device=x.device) * 2 + 1) / h - 1
    xs = (torch.arange(w, dtype=theta.dtype, device=x.device) * 2 + 1) / w - 1
    points = torch.stack((xs.expand(h, w), ys[:, None].expand(h, w), theta.new_ones(h, w)), dim=-1)  # (h, w, 3)
    with no_autocast(x.device):
        grid = torch.einsum("hwk,nck->nhwc", points, theta)
        return F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class GlobalTransformation(nn.Module):
    """GTM. ``z_t, z_t+δ (N, C, h, w) -> z̄_t+δ (N, C, h, w)``."""

    def __init__(self, channels: int, hidden: int = 16, pool: int = 3) -> None:
        super().__init__()
        self.phi = nn.Sequential(
            BasicBlock(2 * channels, hidden),
            *(strided_conv(hidden) for _ in range(5)),
            nn.AdaptiveAvgPool2d(pool),
            nn.Flatten(),
            nn.Linear(hidden * pool * pool, 64),
            nn.Linear(64, 64),
            nn.Linear(64, 6),
        )
        self.register_buffer("identity", torch.tensor([[1.0, 0, 0], [0, 1, 0]]), persistent=False)
        self.identity: Tensor

    def theta(self, key: Tensor, support: Tensor) -> Tensor:
        """Θ (N, 2, 3)."""
        correction = torch.cat((key, support), dim=1)
        for layer in self.phi:
            correction = in_float32(layer, correction) if isinstance(layer, nn.Linear) else layer(correction)
        return self.identity + correction.reshape(-1, 2, 3)

    def forward(self, key: Tensor, support: Tensor) -> Tensor:
        return sample_affine(support, self.theta(key, support))


class LocalCalibration(nn.Module):
    """LCM. ``z_t, z̄_t+δ (N, C, h, w) -> z̃_t+δ (N, C, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        d = DILATION
        self.offset = nn.Sequential(
            BasicBlock(2 * channels, channels), OffsetConv2d(channels, 18 * OFFSET_GROUPS, 3, padding=d, dilation=d)
        )
        self.mask = nn.Sequential(
            BasicBlock(2 * channels, channels), nn.Conv2d(channels, 9 * OFFSET_GROUPS, 3, padding=d, dilation=d)
        )
        self.deform = DeformConv2d(channels, channels, padding=d, dilation=d, offset_groups=OFFSET_GROUPS)

    def forward(self, key: Tensor, coarse: Tensor) -> Tensor:
        both = torch.cat((coarse, key), dim=1)
        o, m = self.offset(both), torch.sigmoid(self.mask(both))  # Eq. 2
        fine: Tensor = self.deform(coarse, o, m)  # Eq. 3
        return fine


class FAMIPose(TemporalModel):
    """``(B, T, 3, H, W) -> (B, J, H/4, W/4)``, any window and any size; keeps C maps a frame.

    ``frames`` are those of Table 7, the key frame among them: (-1, 0), (-1, 0, 1), (-2, -1, 0, 1), (-2, -1, 0, 1, 2).
    ``calibration=False`` is Table 6 (a): the global transformation alone.
    """

    def __init__(
        self, hrnet: HRNetConfig = W48, frames: Sequence[int] = (-2, -1, 0, 1, 2), *, calibration: bool = True
    ) -> None:
        super().__init__(frames)
        c = hrnet.width
        if c % OFFSET_GROUPS:
            raise ValueError(f"FAMI-Pose: HRNet width {c} cannot be shared among {OFFSET_GROUPS} offset groups")
        self.hrnet = HRNet(hrnet)
        self.gtm = GlobalTransformation(c)
        self.lcm = LocalCalibration(c) if calibration else None
        self.detect = nn.Sequential(conv_bn(c, c), conv_bn(c, c), heatmap_layer(c, hrnet.joints, 3, hrnet.sigma))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Convolutions N(0, 0.001) as released; Θ begins at the identity, so that training starts from no motion."""
        initialise(self)
        regress = self.gtm.phi[-1]
        nn.init.zeros_(regress.weight)  # type: ignore[arg-type]
        nn.init.zeros_(regress.bias)  # type: ignore[arg-type]
        if self.lcm is not None:
            nn.init.dirac_(self.lcm.deform.weight)

    def backbone(self, crops: Tensor) -> Features:
        return (self.hrnet.features(crops),)

    def align(self, window: Features) -> tuple[Tensor, list[Tensor]]:
        """z_t and every z̃_t+δ in order of time: what the mutual information is measured between."""
        (z,) = window
        key = z[:, self.key]
        supports = neighbours(z, self.key)
        n = len(supports)
        stacked, keys = torch.cat(supports), key.repeat(n, 1, 1, 1)  # all supporting frames in one call
        coarse: Tensor = self.gtm(keys, stacked)
        fine: Tensor = coarse if self.lcm is None else self.lcm(keys, coarse)
        # Not chunk(), which an export turns into pieces of a fixed batch.
        return key, list(fine.unflatten(0, (n, z.shape[0])).unbind(0))

    def features(self, window: Features) -> dict[str, Tensor]:
        """What Eq. 10 relates: ``key`` and ``enhanced`` (B, C, h, w), ``supports`` (T-1, B, C, h, w), aligned; and the
        ``heatmaps``."""
        key, supports = self.align(window)
        aligned = torch.stack(supports)
        enhanced = key + aligned.sum(0)
        return {"key": key, "supports": aligned, "enhanced": enhanced, "heatmaps": self.detect(enhanced)}

    def head(self, window: Features) -> Tensor:
        return self.features(window)["heatmaps"]


class Translation(nn.Module):
    """Released stand-in for φ: (tx, ty) in pixels of the map, from the difference of two features."""

    def __init__(self, channels: int = 48, hidden: int = 16) -> None:
        super().__init__()
        self.reduce = BasicBlock(channels, hidden)
        self.shrink = nn.Sequential(*(strided_conv(hidden) for _ in range(5)))
        self.regress = nn.Sequential(nn.Linear(9 * hidden, 64), nn.Linear(64, 64), nn.Linear(64, 2))

    def forward(self, difference: Tensor) -> Tensor:
        small = self.shrink(self.reduce(difference)).flatten(1)
        if small.shape[1] != self.regress[0].in_features:
            h, w = (4 * side for side in difference.shape[2:])
            raise ValueError(f"FAMI-Pose as released takes crops of 384x288 only, not {h}x{w}; use FAMIPose instead")
        return in_float32(self.regress, small)


class Calibration(nn.Module):
    """One deformable convolution with its own offset and mask convolutions, all of dilation 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        d = DILATION
        self.offset = OffsetConv2d(channels, 18 * OFFSET_GROUPS, 3, padding=d, dilation=d)
        self.mask = nn.Conv2d(channels, 9 * OFFSET_GROUPS, 3, padding=d, dilation=d)
        self.deform = DeformConv2d(channels, channels, padding=d, dilation=d, offset_groups=OFFSET_GROUPS)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        y: Tensor = self.deform(x, self.offset(guide), self.mask(guide))
        return y


class FAMIPoseReleased(TemporalModel):
    """``(B, 5, 3, 384, 288) -> (B, 17, 96, 72)`` as the authors' code computes it. 64,655,204 parameters."""

    def __init__(self, hrnet: HRNetConfig = W48) -> None:
        super().__init__((-2, -1, 0, 1, 2))
        c = hrnet.width
        self.hrnet = HRNet(hrnet)
        self.translation = Translation(c)
        self.gather = nn.Sequential(BasicBlock(4 * c, c), BasicBlock(c, c))
        self.relate = nn.Sequential(BasicBlock(2 * c, c))
        self.calibrate = nn.ModuleList(Calibration(c) for _ in range(4))
        self.aggregate = nn.Sequential(BasicBlock(2 * c, c), BasicBlock(c, c), BasicBlock(c, c))
        self.final = nn.Conv2d(c, hrnet.joints, 3, padding=1)

    def backbone(self, crops: Tensor) -> Features:
        return (self.hrnet.features(crops),)

    def translate(self, key: Tensor, support: Tensor) -> Tensor:
        """``support`` shifted by the estimated translation: out(x, y) = in(x - tx, y - ty)."""
        _, _, h, w = support.shape
        shift = self.translation(support - key)  # px
        n = shift.shape[0]  # not len(), which an export takes for a number
        straight = torch.eye(2, dtype=shift.dtype, device=shift.device).expand(n, 2, 2)
        theta = torch.cat((straight, (-shift * 2 / shift.new_tensor([w, h]))[:, :, None]), dim=2)
        return sample_affine(support, theta)

    def features(self, window: Features) -> dict[str, Tensor]:
        """``key``, ``supports`` (fused), ``enhanced`` (B, C, h, w) and ``heatmaps``: what the MI terms compare."""
        (z,) = window
        key = z[:, self.key]
        supports: Tensor = self.gather(torch.cat([self.translate(key, s) for s in neighbours(z, self.key)], dim=1))
        c = self.relate(torch.cat((supports, key), dim=1))
        c = self.calibrate[1](first := self.calibrate[0](c, c), first)
        fine = self.calibrate[2](supports, c)
        fine = self.calibrate[3](fine, fine)
        enhanced = self.aggregate(torch.cat((key, fine), dim=1))
        return {"key": key, "supports": supports, "enhanced": enhanced, "heatmaps": self.final(enhanced)}

    def head(self, window: Features) -> Tensor:
        return self.features(window)["heatmaps"]
