"""InsPose as its authors' code (opera) computes it, for their weights; :mod:`engines.models.inspose` is the paper's.

It is later and heavier than the paper's network: a keypoint regression tower steers deformable "star" features,
decoding is at stride 4, and rectangles of the *regressed* keypoints go through soft-NMS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import deform_conv2d
from engines.layers.kp_nets import FEATURES, KEYPOINTS, PARAMETERS, STRIDES, kp_net, rectangles, shifted_peaks
from engines.layers.nms import nms, soft_nms
from engines.models.inspose import CGR, Instances, Predictions, candidates, conv3, tower
from engines.models.resnet_fpn import FPN, ResNet

STAR = (0, 5, 6, 9, 10, 11, 12, 15, 16)
"""Keypoints at whose regressed positions a star convolution reads: nose, shoulders, wrists, hips, ankles."""


class StarConv(nn.Module):
    """A 3×3 convolution that samples at nine keypoints instead of a grid, then normalisation and ReLU."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.gn = nn.GroupNorm(32, channels)
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        return F.relu(self.gn(deform_conv2d(x, offset, self.weight, padding=1)))


def star_offsets(regressed: Tensor) -> Tensor:
    """Regressed keypoints (B, 34, h, w) in cells, x before y ``->`` deformable offsets (B, 18, h, w), y before x.

    The regular position of each tap is subtracted, so that tap t reads at keypoint STAR[t]. Only a tenth of the
    gradient flows back.
    """
    b, _, h, w = regressed.shape
    pairs = regressed.reshape(b, KEYPOINTS, 2, h, w)[:, list(STAR)].flip(2)  # (B, 9, 2, h, w): y, x
    steps = torch.arange(-1, 2, device=regressed.device, dtype=regressed.dtype)
    grid = torch.stack((steps.repeat_interleave(3), steps.repeat(3)), dim=1)
    offsets = (pairs - grid[None, :, :, None, None]).reshape(b, 18, h, w)
    return 0.9 * offsets.detach() + 0.1 * offsets


class BilinearUpsample2x(nn.Module):
    """Bilinear up-sampling by two."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class InsPoseReleased(nn.Module):
    """The public code's network with ResNet-50. 50,107,888 parameters; disk offsets, heatmaps and tags at stride 4."""

    cell_px = STRIDES[0] // 2

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.backbone = ResNet(50)
        self.neck = FPN(self.backbone.channels[1:], width)
        self.regress_tower = tower(width, 512, 4)
        self.regress = conv3(512, 2 * KEYPOINTS)
        self.classify_tower = tower(width, width, 4)
        self.classify_star = StarConv(width)
        self.classify = conv3(2 * width, 1)
        self.parameter_tower = tower(width, width, 4)
        self.parameter_star = StarConv(width)
        self.controller = conv3(2 * width, PARAMETERS)
        self.features = nn.Sequential(
            tower(width, 128, 4),
            nn.Conv2d(128, FEATURES, 3, padding=1, bias=False),
            nn.GroupNorm(2, FEATURES),
            nn.ReLU(),
        )
        self.fine = nn.Sequential(CGR(width, 512), CGR(512, 512), BilinearUpsample2x(), CGR(512, 512))
        self.heatmap = conv3(512, KEYPOINTS)
        self.tag = conv3(512, KEYPOINTS)
        self.disk_offset = conv3(512, 2 * KEYPOINTS)

    def forward(self, image: Tensor) -> Predictions:
        levels = self.neck(self.backbone(image)[1:])
        regressed = [self.regress(self.regress_tower(p)) for p in levels]
        offsets = [star_offsets(r) for r in regressed]
        fine = self.fine(levels[0])
        return Predictions(
            scores=[
                self._star_head(p, o, self.classify_tower, self.classify_star, self.classify)
                for p, o in zip(levels, offsets, strict=True)
            ],
            theta=[
                self._star_head(p, o, self.parameter_tower, self.parameter_star, self.controller)
                for p, o in zip(levels, offsets, strict=True)
            ],
            f_kp=self.features(levels[0]),
            disk=self.disk_offset(fine),
            cell_px=self.cell_px,
            heatmaps=self.heatmap(fine),
            regressed=regressed,
            tags=self.tag(fine),
        )

    @staticmethod
    def _star_head(p: Tensor, offset: Tensor, tower: nn.Module, star: nn.Module, last: nn.Module) -> Tensor:
        x = tower(p)
        result: Tensor = last(torch.cat((x, star(x, offset)), dim=1))
        return result


def decode_released(
    predictions: Predictions,
    size: tuple[int, int],
    image: int = 0,
    *,
    scale: Tensor | None = None,
    min_score: float = 0.05,
    top: int = 1000,
    threshold: float = 0.3,
    max_people: int = 100,
    soft: bool = True,
) -> Instances:
    """The public code's order: per-level top, NMS on rectangles of regressed keypoints, then the KP-Nets of those left.

    ``size`` (height, width) of the picture without padding, to which regressed keypoints are clamped; ``scale`` (2,)
    float, what the original picture was multiplied by in x and y: results are then in its pixels.
    """
    found = candidates([s[image] for s in predictions.scores], min_score, top)
    scale = found.scores.new_ones(2) if scale is None else scale
    cells = found.of([r[image] for r in predictions.regressed]).reshape(-1, KEYPOINTS, 2)
    positions = found.points[:, None] + cells * found.strides[:, None, None]
    limit = positions.new_tensor([size[1], size[0]])
    boxes = rectangles(torch.minimum(positions.clamp(min=0), limit) / scale)
    if soft:
        keep, scores = soft_nms(boxes, found.scores, threshold, 1e-3)
    else:
        keep = nms(boxes, found.scores, threshold)
        scores = found.scores[keep]
    keep, scores = keep[:max_people], scores[:max_people]
    found = found[keep]
    theta = found.of([t[image] for t in predictions.theta])
    maps = kp_net(theta, predictions.f_kp[image], found.points, found.strides)
    maps = F.interpolate(maps, scale_factor=2, mode="bicubic", align_corners=False) if len(maps) else maps
    keypoints = shifted_peaks(maps, predictions.disk[image], predictions.cell_px) / scale
    return Instances(keypoints, boxes[keep], scores, found.level, found.location)
