"""HRNet: Deep High-Resolution Representation Learning for Human Pose Estimation, Sun et al., CVPR 2019.

    crop (B, 3, H, W) ─ stem ─ layer1 ─┬─ C  ───┬─ C  ───┬─ C  ───── F (B, C, H/4, W/4) ── 1×1 ── heatmaps
                                       └─ 2C ───┼─ 2C ───┼─ 2C
                                                └─ 4C ───┼─ 4C
                                                         └─ 8C
                                        stage2    stage3   stage4

Parallel branches of halving resolution exchange features after every module (the fuse layers). ``C`` is 32 or 48.
Parameter names are those of the authors' checkpoints. Sizes: 28,536,113 (W32) and 63,595,745 (W48) parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.residual import BasicBlock, Bottleneck
from engines.layers.softmax_heatmaps import heatmap_layer


@dataclass(frozen=True)
class HRNetConfig:
    """The size of an HRNet."""

    width: int = 48
    """C, channels of the branch with the highest resolution; the next ones have 2C, 4C, 8C."""
    modules: tuple[int, int, int] = (1, 4, 3)
    """High-resolution modules in stages 2, 3 and 4 (Table 1 of the journal version)."""
    blocks: int = 4
    """Basic blocks a branch of each module."""
    stem_width: int = 64
    bottlenecks: int = 4
    joints: int = 17
    sigma: float | None = None
    """If given, heatmaps are distributions of this width in cells (``engines.layers.softmax_heatmaps``)."""


W32 = HRNetConfig(width=32)
W48 = HRNetConfig(width=48)
COMPACT = HRNetConfig(width=24, modules=(1, 1, 1), blocks=2, stem_width=32, bottlenecks=1)
"""Our own, for CPUs: the same architecture at 0.85 GMAC for 256x192; there are no published weights."""
COMPACT16 = HRNetConfig(width=16, modules=(1, 1, 1), blocks=2, stem_width=32, bottlenecks=1)
"""Smaller still: 0.46 GMAC at 256x192."""


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless it ends a sum, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def fuse_layer(widths: Sequence[int], i: int, j: int) -> nn.Module | None:
    """The layers from branch j into branch i; None for i = j, which is the identity.

    From a lower resolution: 1×1 to the branch's channels, then nearest up-sampling. From a higher one: 3×3 convolutions
    of stride 2, all but the last keeping their channels and ending in ReLU.
    """
    if i == j:
        return None
    if j > i:
        layers = conv_bn(widths[j], widths[i], kernel=1, relu=False)
        layers.append(nn.Upsample(scale_factor=2 ** (j - i), mode="nearest"))
        return layers
    steps = [conv_bn(widths[j], widths[j], stride=2) for _ in range(i - j - 1)]
    return nn.Sequential(*steps, conv_bn(widths[j], widths[i], stride=2, relu=False))


def module_list(*modules: nn.Module | None) -> nn.ModuleList:
    """A list that may hold None, so that indices are those of the checkpoints; PyTorch allows it, its types do not."""
    return nn.ModuleList(cast("tuple[nn.Module, ...]", modules))


class HighResolutionModule(nn.Module):
    """Residual blocks on every branch, then the exchange. ``list of (B, C·2^i, h/2^i, w/2^i) -> the same``."""

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            module_list(*(fuse_layer(widths, i, j) for j in range(len(widths)))) for i in range(outputs or len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fuse(cast("nn.ModuleList", row), maps) for row in self.fuse_layers]

    @staticmethod
    def _fuse(row: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        layers: list[nn.Module | None] = list(row)
        return F.relu(reduce(add, (x if layer is None else layer(x) for layer, x in zip(layers, maps, strict=True))))


class HRNet(nn.Module):
    """``(B, 3, H, W) -> heatmaps (B, J, H/4, W/4)``; :meth:`features` gives the last high-resolution map.

    H and W must be multiples of 32, so that the lowest branch exists.
    """

    def __init__(self, config: HRNetConfig = W48, *, all_branches: bool = False) -> None:
        """``all_branches`` keeps the last fusion of all four branches, for a feature pyramid, and has no head."""
        super().__init__()
        self.config = config
        c, stem = config.width, config.stem_width
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = nn.Conv2d(stem, stem, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem)
        self.layer1 = nn.Sequential(
            Bottleneck(stem, stem), *(Bottleneck(4 * stem, stem) for _ in range(config.bottlenecks - 1))
        )
        widths = [c * 2**i for i in range(4)]
        self.transition1 = nn.ModuleList([conv_bn(4 * stem, c), self._branch_off(4 * stem, 2 * c)])
        self.stage2 = self._stage(widths[:2], config.modules[0])
        self.transition2 = module_list(None, None, self._branch_off(2 * c, 4 * c))
        self.stage3 = self._stage(widths[:3], config.modules[1])
        self.transition3 = module_list(None, None, None, self._branch_off(4 * c, 8 * c))
        self.stage4 = self._stage(widths, config.modules[2], last=not all_branches)
        if not all_branches:
            self.final_layer = heatmap_layer(c, config.joints, 1, config.sigma)

    @staticmethod
    def _branch_off(cin: int, cout: int) -> nn.Sequential:
        return nn.Sequential(conv_bn(cin, cout, stride=2))

    def _stage(self, widths: list[int], modules: int, *, last: bool = False) -> nn.Sequential:
        outputs = [None] * (modules - 1) + [1 if last else None]  # the last module computes only what the head reads
        return nn.Sequential(*(HighResolutionModule(widths, self.config.blocks, n) for n in outputs))

    def stages(self, x: Tensor) -> list[Tensor]:
        """The high-resolution branch after stages 1, 2, 3 and 4: four maps (B, C, H/4, W/4)."""
        one, two, three, branches = self._run(x)
        return [one, two, three, branches[0]]

    def branches(self, x: Tensor) -> list[Tensor]:
        """The output of stage 4: C at H/4, and with ``all_branches`` also 2C at H/8, 4C at H/16 and 8C at H/32."""
        return self._run(x)[3]

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        x = F.relu(self.bn1(self.conv1(x)))  # (B, 64, H/2, W/2)
        x = F.relu(self.bn2(self.conv2(x)))  # (B, 64, H/4, W/4)
        x = self.layer1(x)  # (B, 256, H/4, W/4)
        one = self.transition1[0](x)
        maps = self.stage2([one, self.transition1[1](x)])
        two = maps[0]
        maps = self.stage3([*maps, self.transition2[2](maps[-1])])
        three = maps[0]
        maps = self.stage4([*maps, self.transition3[3](maps[-1])])
        return one, two, three, maps

    def features(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W) -> (B, C, H/4, W/4)``: stage 4's high-resolution branch, after its ReLU."""
        return self.stages(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        heatmaps: Tensor = self.final_layer(self.features(x))
        return heatmaps
