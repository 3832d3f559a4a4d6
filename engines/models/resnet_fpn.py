"""ResNet (He et al., CVPR 2016) under a Feature Pyramid Network (Lin et al., CVPR 2017), as single-stage detectors do.

    image (B, 3, H, W) ─ C2 ─ C3 ─ C4 ─ C5      strides 4, 8, 16, 32; 256, 512, 1024, 2048 channels
                               │    │    │
                              P3 ← P4 ← P5 → P6 → P7    256 channels each, strides 8 to 128

The stride of a stage lies in its first 3×3 convolution (the variant of the common ImageNet weights). P6 is a strided
convolution of P5's *output*, P7 one of ReLU(P6) (FCOS, Tian et al., ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.residual import Bottleneck
from engines.models.hrnet import W32, HRNet, HRNetConfig

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class ResNet(nn.Module):
    """``(B, 3, H, W) -> [C2, C3, C4, C5]``. Names as in the common ImageNet checkpoints, without ``fc``."""

    channels = (256, 512, 1024, 2048)

    def __init__(self, depth: int = 50) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"ResNet-{depth}: there is no such depth; take one of {', '.join(map(str, DEPTHS))}")
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for i, blocks in enumerate(DEPTHS[depth]):
            width, stride = 64 * 2**i, 1 if i == 0 else 2
            stage = [Bottleneck(cin, width, stride)]
            cin = width * Bottleneck.expansion
            stage += [Bottleneck(cin, width) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
            maps.append(x)
        return maps


class HRNetPyramid(nn.Module):
    """HRNet in ResNet's place: ``(B, 3, H, W) -> [C2, C3, C4, C5]`` of C, 2C, 4C, 8C channels."""

    def __init__(self, config: HRNetConfig = W32) -> None:
        super().__init__()
        self.hrnet = HRNet(config, all_branches=True)
        # The pyramid begins at C3: nothing reads the last fusion into C2, whose weights published files have.
        self.hrnet.stage4[-1].fuse_layers[0].requires_grad_(False)  # type: ignore[index, union-attr, operator]
        self.channels = tuple(config.width * 2**i for i in range(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.hrnet.branches(x)


class FPN(nn.Module):
    """``[C3, C4, C5] -> [P3, P4, P5, P6, P7]``; convolutions with bias, no normalisation."""

    def __init__(self, channels: Sequence[int] = (512, 1024, 2048), width: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.extra = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in range(2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = [lateral(c) for lateral, c in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + F.interpolate(inner[i + 1], size=inner[i].shape[2:], mode="nearest")
        p = [output(x) for output, x in zip(self.output, inner, strict=True)]
        p6 = self.extra[0](p[-1])
        return [*p, p6, self.extra[1](F.relu(p6))]
