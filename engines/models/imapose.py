"""IMAPose: Instance-Motion Aware network (published as PMAN, Int. J. of Intelligent Systems 2022, 10.1002/int.22817).

    ISE  F^A = HRNet(I);  F^S = mean over r in {1, 3, 6, 9, 12} of DCNv2_r(F^A)                     Eqs. 1-4
    KME  Φ = 3×3([F^S_t - F^S_t+m, m < 0] ⊕ [F^S_t+n - F^S_t, n > 0]);  K_j = f_ME,j(Φ)             Eq. 5
    MDD  Ψ = 3×3(⊕ F^S_t+d);  H_j = 1×1(Ψ ⊗ K_j)                                                  Eq. 6

Every joint has its own encoder and so its own kernel, made from the motion of this very person. What the text leaves
open (the figure with the encoder's layers is not readable in it) is decided here, once, with reasons:

* *Dynamic heads*: one offset group, a 3×3 convolution of the head's own dilation each for offsets and scalars, sigmoid.
* *f_ME,j*: six 3×3 convolutions, the first from C to 16 channels at stride 1, five of stride 2 (96×72 becomes 3×3), the
  mean over what is left, so that any input size fits, and the fully connected layer.
* *K_j* is depth-wise, C×3×3: ⊗ keeps C maps, which the 1×1 convolution, one a joint, then joins to one heatmap. Both
  are linear, so all joints run as one convolution with the kernel v_jc · K_jc; no map is stored per joint.

One thing deviates. Sec. 4.1 initialises from N(0, 0.001): through Φ, six convolutions and a connected layer the motion
then leaves kernels of 1e-17, its gradient is 0 and after 900 steps the kernels of all people are still equal
(``benchmarks/results/learning.md``). Φ, the encoders and Ψ are initialised as He et al. (ICCV 2015) so that the scale
of the motion is kept; ``std=0.001`` is the paper's.

Switches for Table 5: ``dilations`` (none to five), ``motion="human"`` (one kernel for all joints), ``aggregate=False``
(Ψ = F^S_t), ``radius`` D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import DeformConv2d
from engines.layers.deform_dilated import deform_conv2d_dilated
from engines.layers.fp32 import OffsetConv2d
from engines.layers.softmax_heatmaps import softmax_heatmaps
from engines.models.hrnet import W48, HRNet, HRNetConfig
from engines.models.temporal import Features, TemporalModel, initialise

DILATIONS = (1, 3, 6, 9, 12)
KERNEL = 3


class DynamicHead(nn.Module):
    """Eq. 2 with dilation r: the deformable convolution and the layers that predict its offsets and scalars."""

    def __init__(self, channels: int, r: int) -> None:
        super().__init__()
        self.offset = OffsetConv2d(channels, 18, 3, padding=r, dilation=r)
        self.scalars = nn.Conv2d(channels, 9, 3, padding=r, dilation=r)
        self.deform = DeformConv2d(channels, channels, padding=r, dilation=r)

    def maps(self, f_a: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 3: Δo (N, 18, h, w) px and Δw (N, 9, h, w) in 0..1."""
        return self.offset(f_a), torch.sigmoid(self.scalars(f_a))


class InstanceSensitiveExtractor(nn.Module):
    """Eq. 4: the mean of the heads; the feature itself when there is none."""

    def __init__(self, channels: int, dilations: Sequence[int] = DILATIONS) -> None:
        super().__init__()
        self.heads = nn.ModuleList(DynamicHead(channels, r) for r in dilations)

    def forward(self, f_a: Tensor) -> Tensor:
        if not len(self.heads):
            return f_a
        heads: list[DynamicHead] = list(self.heads)  # type: ignore[arg-type]
        offsets, scalars = zip(*(head.maps(f_a) for head in heads), strict=True)
        return deform_conv2d_dilated(f_a, [head.deform for head in heads], offsets, scalars) / len(heads)


class KeypointMotionEncoder(nn.Module):
    """f_ME of all joints at once: ``Φ (B, C, h, w) -> K (B, J, C, 3, 3)``.

    The branches share nothing but their input, so they are grouped convolutions with one group a joint.
    """

    def __init__(self, channels: int, joints: int, hidden: int = 16) -> None:
        super().__init__()
        self.joints, self.channels = joints, channels
        wide = joints * hidden
        layers: list[nn.Module] = [nn.Conv2d(channels, wide, 3, 1, 1), nn.ReLU(inplace=True)]
        for _ in range(5):
            layers += [nn.Conv2d(wide, wide, 3, 2, 1, groups=joints), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        self.connected = nn.Conv2d(wide, joints * channels * KERNEL**2, 1, groups=joints)

    def forward(self, phi: Tensor) -> Tensor:
        summary = self.convolutions(phi).mean(dim=(2, 3), keepdim=True)
        kernels: Tensor = self.connected(summary)
        return kernels.reshape(-1, self.joints, self.channels, KERNEL, KERNEL)


class MotionDrivenDecoder(nn.Module):
    """Eq. 6: ``Ψ (B, C, h, w), K (B, J or 1, C, 3, 3) -> H (B, J, h, w)``; distributions if ``sigma`` is given."""

    def __init__(self, channels: int, joints: int, sigma: float | None = None) -> None:
        super().__init__()
        self.joints, self.sigma = joints, sigma
        self.join = nn.Parameter(torch.empty(joints, channels))
        self.bias = nn.Parameter(torch.zeros(joints))
        nn.init.normal_(self.join, std=0.001)

    def forward(self, psi: Tensor, kernels: Tensor) -> Tensor:
        b, c, h, w = psi.shape
        weight = self.join[None, :, :, None, None] * kernels  # (B, J, C, 3, 3)
        # Each person's maps meet that person's kernels: a matrix product a person, since a grouped convolution with
        # one group a person could not be exported for any number of people.
        padded = F.pad(psi, (KERNEL // 2,) * 4)
        shifted = [padded[:, :, i : i + h, j : j + w] for i in range(KERNEL) for j in range(KERNEL)]
        patches = torch.stack(shifted, dim=2).reshape(b, c * KERNEL**2, h * w)
        maps = torch.matmul(weight.reshape(b, self.joints, c * KERNEL**2), patches)
        maps = maps.reshape(b, self.joints, h, w) + self.bias[None, :, None, None]
        return maps if self.sigma is None else softmax_heatmaps(maps, self.sigma)


class IMAPose(TemporalModel):
    """``(B, 2D+1, 3, H, W) -> (B, J, H/4, W/4)``. Keeps C maps a frame."""

    def __init__(
        self,
        hrnet: HRNetConfig = W48,
        radius: int = 2,
        *,
        dilations: Sequence[int] = DILATIONS,
        motion: Literal["keypoint", "human"] = "keypoint",
        aggregate: bool = True,
        std: float | None = None,
    ) -> None:
        """``std`` of the normal distribution that initialises encoders and Ψ; None keeps the scale of the motion."""
        super().__init__(range(-radius, radius + 1))
        c = hrnet.width
        self.hrnet = HRNet(hrnet)
        self.ise = InstanceSensitiveExtractor(c, dilations)
        self.phi = nn.Conv2d(2 * radius * c, c, 3, padding=1)
        self.kme = KeypointMotionEncoder(c, hrnet.joints if motion == "keypoint" else 1)
        self.psi = nn.Conv2d((2 * radius + 1) * c, c, 3, padding=1) if aggregate else None
        self.mdd = MotionDrivenDecoder(c, hrnet.joints, hrnet.sigma)
        initialise(self.ise)  # Sec. 4.1; the backbone comes pre-trained
        for added in (self.phi, self.kme, self.psi):
            if added is not None:
                initialise(added, std)

    def backbone(self, crops: Tensor) -> Features:
        return (self.ise(self.hrnet.features(crops)),)

    def differences(self, f_s: Tensor) -> Tensor:
        """The concatenation of Eq. 5: (B, T, C, h, w) -> (B, 2D·C, h, w)."""
        key = f_s[:, self.key : self.key + 1]
        before, after = key - f_s[:, : self.key], f_s[:, self.key + 1 :] - key
        return torch.cat((before, after), dim=1).flatten(1, 2)

    def kernels(self, window: Features) -> Tensor:
        """K (B, J or 1, C, 3, 3), made from the motion of each window."""
        made: Tensor = self.kme(self.phi(self.differences(window[0])))
        return made

    def head(self, window: Features) -> Tensor:
        (f_s,) = window
        kernels = self.kernels(window)
        psi = f_s[:, self.key] if self.psi is None else self.psi(f_s.flatten(1, 2))
        heatmaps: Tensor = self.mdd(psi, kernels)
        return heatmaps
