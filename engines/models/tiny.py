"""The network that ships inside the package: small enough for one CPU thread, trained on synthetic people alone.

    crop (B, 3, 192, 144) ─ stem ─ 1/4 ─────────────── + ── heatmaps (B, 17, 48, 36)
                                    └─ 1/8 ──────── + ─┘
                                        └─ 1/16 ── ─┘

Depthwise-separable residual blocks (MobileNetV2, Sandler et al., CVPR 2018) in an hourglass that adds what it knows of
coarser scales to finer ones (Newell et al., ECCV 2016). A single-frame network: past = future = 0.
"""

from __future__ import annotations

from torch import Tensor, nn

INPUT_SIZE = (144, 192)
"""Width and height of a crop, px."""
STRIDE = 4
JOINTS = 17


def conv_bn(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless it ends a sum, ReLU."""
    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Separable(nn.Module):
    """Widen, 5×5 depthwise, narrow; added to the input. ``(B, c, h, w) -> (B, c, h, w)``."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        wide = expansion * channels
        self.body = nn.Sequential(
            conv_bn(channels, wide, 1), conv_bn(wide, wide, 5, groups=wide), conv_bn(wide, channels, 1, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class Tiny(nn.Module):
    """``(B, 3, 192, 144) -> (B, 17, 48, 36)``; about 0.3 M parameters."""

    def __init__(self, widths: tuple[int, int, int] = (24, 48, 96), blocks: tuple[int, int, int] = (1, 2, 4)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = nn.Sequential(conv_bn(3, 16, 3, 2), conv_bn(16, a, 3, 2))
        self.quarter = self._stage(a, blocks[0])
        self.to_eighth = conv_bn(a, b, 3, 2)
        self.eighth = self._stage(b, blocks[1])
        self.to_sixteenth = conv_bn(b, c, 3, 2)
        self.sixteenth = self._stage(c, blocks[2])
        self.up_eighth = nn.Sequential(conv_bn(c, b, 1, relu=False), nn.Upsample(scale_factor=2, mode="nearest"))
        self.refine_eighth = self._stage(b, 2)
        self.up_quarter = nn.Sequential(conv_bn(b, a, 1, relu=False), nn.Upsample(scale_factor=2, mode="nearest"))
        self.refine_quarter = self._stage(a, 2)
        self.head = nn.Conv2d(a, JOINTS, 1)

    @staticmethod
    def _stage(channels: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(*(Separable(channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        quarter = self.quarter(self.stem(x))  # (B, 24, 48, 36)
        eighth = self.eighth(self.to_eighth(quarter))  # (B, 48, 24, 18)
        sixteenth = self.sixteenth(self.to_sixteenth(eighth))  # (B, 96, 12, 9)
        eighth = self.refine_eighth(eighth + self.up_eighth(sixteenth))
        quarter = self.refine_quarter(quarter + self.up_quarter(eighth))
        heatmaps: Tensor = self.head(quarter)
        return heatmaps
