"""InsPose: Instance-Aware Dynamic Networks for Single-Stage Multi-Person Pose Estimation, Shi et al., ACM MM 2021.

    image ─ ResNet or HRNet ─ FPN ─ P3 … P7
      every level   classification tower ── person or not at each location
                    parameter tower ────── θ, 313 numbers: the KP-Net of the person at that location
      P3            keypoint features F_kp (8 maps), disk offsets (2 a keypoint), auxiliary heatmaps (training only)
    KP-Net_θ(F_kp ⊕ coordinates relative to the location) ── one map a keypoint; arg-max + disk offset = keypoint

:class:`InsPose` is the paper. What it leaves open, decided here: group normalisation in the towers (FCOS); relative
coordinates divided by 8 strides of the level the location lies on (as released; without a scale, a large person's
coordinates would dwarf the features). :class:`InsPoseReleased` is the later, heavier network of the public code
(opera), the one whose weights exist: a keypoint regression tower steers deformable "star" features, decoding is at
stride 4, and rectangles of the *regressed* keypoints go through soft-NMS.

The ablations of Tables 1 to 4 are keyword arguments of :class:`InsPose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.deform_conv import deform_conv2d
from engines.layers.kp_nets import (
    FEATURES,
    KEYPOINTS,
    MAP_STRIDES,
    MAX_DEPTH,
    PARAMETERS,
    STRIDES,
    kp_net,
    kp_net_parameters,
    locations,
    rectangles,
    resize_maps,
    shifted_peaks,
)
from engines.layers.nms import nms, soft_nms
from engines.models.hrnet import COMPACT, W32, HRNetConfig
from engines.models.resnet_fpn import FPN, HRNetPyramid, ResNet

STAR = (0, 5, 6, 9, 10, 11, 12, 15, 16)
"""Keypoints at whose regressed positions a star convolution reads: nose, shoulders, wrists, hips, ankles."""


class CGR(nn.Module):
    """3×3 convolution without bias, group normalisation (32 groups), ReLU."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
        self.gn = nn.GroupNorm(32, cout)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.gn(self.conv(x)))


def tower(cin: int, width: int, layers: int) -> nn.Sequential:
    """``layers`` CGR blocks; the first changes the channels."""
    return nn.Sequential(CGR(cin, width), *(CGR(width, width) for _ in range(layers - 1)))


def conv3(cin: int, cout: int) -> nn.Conv2d:
    """3×3 with bias, size kept."""
    return nn.Conv2d(cin, cout, 3, padding=1)


@dataclass
class Predictions:
    """The network's output for a batch; lists hold one tensor for each level P3 … P7.

    ``scores`` (B, 1, h, w) logits; ``theta`` (B, 313, h, w); ``f_kp`` (B, 8, H/8, W/8); ``disk`` (B, 34, H/s, W/s) in
    cells of s = ``cell_px``; ``heatmaps`` (B, 17, H/8, W/8) logits (released: H/4, W/4), None outside training;
    ``boxes`` (B, 4, h, w) px from the location to left, top, right, bottom, empty without a box head; ``regressed``
    (B, 34, h, w) in strides, ``tags`` (B, 17, H/4, W/4): the released network only.
    """

    scores: list[Tensor]
    theta: list[Tensor]
    f_kp: Tensor
    disk: Tensor
    cell_px: int = STRIDES[0]
    heatmaps: Tensor | None = None
    boxes: list[Tensor] = field(default_factory=list)
    regressed: list[Tensor] = field(default_factory=list)
    tags: Tensor | None = None


@dataclass
class Instances:
    """The people of one image, best first. ``keypoints`` (n, 17, 2) px, ``boxes`` (n, 4) px, ``scores`` (n,);
    ``level`` (n,) and ``location`` (n,) say where on the pyramid each was found."""

    keypoints: Tensor
    boxes: Tensor
    scores: Tensor
    level: Tensor
    location: Tensor


@dataclass
class Candidates:
    """Locations of one image that may be people, over all levels."""

    scores: Tensor
    points: Tensor
    level: Tensor
    location: Tensor

    def __getitem__(self, index: Tensor) -> Candidates:
        return Candidates(self.scores[index], self.points[index], self.level[index], self.location[index])

    def of(self, maps: Sequence[Tensor]) -> Tensor:
        """The column of each candidate in per-level maps (C, h, w): (n, C)."""
        rows = [maps[level].flatten(1)[:, where] for level, where in zip(self.level, self.location, strict=True)]
        return torch.stack(rows) if rows else maps[0].new_zeros(0, maps[0].shape[0])

    @property
    def strides(self) -> Tensor:
        """The stride of each candidate's level: (n,)."""
        return self.scores.new_tensor(STRIDES)[self.level]


def candidates(scores: Sequence[Tensor], minimum: float, top: int | None = None) -> Candidates:
    """Locations with sigmoid(score) above ``minimum``; with ``top``, only among the best ``top`` of each level.

    ``scores``: one (1, h, w) a level. Levels stay in order; within a level locations are best first if ``top`` cut it.
    """
    found = []
    for level, (logits, stride) in enumerate(zip(scores, STRIDES, strict=True)):
        confidence = torch.sigmoid(logits).flatten()
        where = torch.arange(len(confidence), device=logits.device)
        if top is not None and len(confidence) > top:
            confidence, where = confidence.topk(top)
        keep = confidence > minimum
        _, h, w = logits.shape
        points = locations(h, w, stride, logits)
        where = where[keep]
        found.append(Candidates(confidence[keep], points[where], torch.full_like(where, level), where))
    return Candidates(
        *(torch.cat([getattr(c, name) for c in found]) for name in ("scores", "points", "level", "location"))
    )


def build_backbone(name: str) -> nn.Module:
    """``r50``, ``r101``, ``hrnet-w32`` or ``hrnet-compact``: a module giving C2 … C5 with their ``channels``."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "r50": lambda: ResNet(50),
        "r101": lambda: ResNet(101),
        "hrnet-w32": lambda: HRNetPyramid(W32),
        "hrnet-compact": lambda: HRNetPyramid(COMPACT),
    }
    if name not in makers:
        raise ValueError(f"InsPose: no backbone {name!r}; there are {', '.join(makers)}")
    return makers[name]()


class InsPose(nn.Module):
    """The paper. ``(B, 3, H, W)`` normalised RGB, H and W multiples of 32 ``-> Predictions``.

    ``backbone`` is a name of :func:`build_backbone`, or an HRNet of the parameters ``hrnet``. Table 1: without
    ``disk_offset``, keypoints lie in the centres of their cells; without ``auxiliary`` heatmaps. Table 2: ``depth`` of
    the KP-Nets. Table 3: ``map_stride`` of keypoint maps and disk offsets. Table 4: ``boxes`` attaches the box head
    that Sec. 3.4 mentions to the parameter tower.
    """

    def __init__(
        self,
        backbone: str = "r50",
        *,
        hrnet: HRNetConfig | None = None,
        width: int = 256,
        disk_offset: bool = True,
        auxiliary: bool = True,
        depth: int = 3,
        map_stride: int = STRIDES[0],
        boxes: bool = False,
    ) -> None:
        super().__init__()
        if depth not in range(1, MAX_DEPTH + 1):
            raise ValueError(f"InsPose: depth={depth} of the KP-Nets is not one of 1 to {MAX_DEPTH}")
        if map_stride not in MAP_STRIDES:
            raise ValueError(f"InsPose: map_stride={map_stride} is not one of {', '.join(map(str, MAP_STRIDES))}")
        self.cell_px = map_stride
        self.backbone = HRNetPyramid(hrnet) if hrnet is not None else build_backbone(backbone)
        self.neck = FPN(self.backbone.channels[1:], width)  # type: ignore[arg-type, index]
        self.classify = nn.Sequential(tower(width, width, 4), conv3(width, 1))
        self.parameter_tower = tower(width, width, 4)
        self.controller = conv3(width, kp_net_parameters(depth))
        self.box_head = conv3(width, 4) if boxes else None
        self.features = nn.Sequential(tower(width, width // 2, 4), conv3(width // 2, FEATURES))
        self.disk_offset = nn.Sequential(tower(width, width, 2), conv3(width, 2 * KEYPOINTS)) if disk_offset else None
        self.auxiliary = nn.Sequential(tower(width, width, 2), conv3(width, KEYPOINTS)) if auxiliary else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Heads N(0, 0.01), bias 0, and a prior of 0.01 for 'person' (RetinaNet, Lin et al., ICCV 2017, Sec. 4.1)."""
        for name, child in self.named_children():
            for layer in () if name in ("backbone", "neck") else child.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=0.01)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        nn.init.constant_(self.classify[-1].bias, -math.log(99))  # type: ignore[arg-type]
        if self.auxiliary is not None:
            nn.init.constant_(self.auxiliary[-1].bias, -math.log(9))  # type: ignore[arg-type]
        if self.box_head is not None:
            # Sides of one stride, since ReLU passes no gradient to the half that would start below 0.
            nn.init.ones_(self.box_head.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Predictions:
        levels = self.neck(self.backbone(image)[1:])
        towers = [self.parameter_tower(p) for p in levels]
        boxes = (
            []
            if self.box_head is None
            else [F.relu(self.box_head(t)) * s for t, s in zip(towers, STRIDES, strict=True)]
        )
        return Predictions(
            scores=[self.classify(p) for p in levels],
            theta=[self.controller(t) for t in towers],
            f_kp=self.features(levels[0]),
            disk=self._disk_offsets(levels[0]),
            cell_px=self.cell_px,
            heatmaps=self.auxiliary(levels[0]) if self.training and self.auxiliary is not None else None,
            boxes=boxes,
        )

    def _disk_offsets(self, p3: Tensor) -> Tensor:
        if self.disk_offset is not None:
            return resize_maps(self.disk_offset(p3), self.cell_px)
        centres = p3.new_full((p3.shape[0], 2 * KEYPOINTS, *p3.shape[2:]), 0.5)  # len() would fix an export's batch
        return resize_maps(centres, self.cell_px)


def decode(
    predictions: Predictions,
    image: int = 0,
    *,
    min_score: float = 0.1,
    top: int = 500,
    threshold: float = 0.6,
    max_people: int = 100,
) -> Instances:
    """Sec. 3.4: threshold, the best ``top`` locations, their KP-Nets, NMS on the rectangles of the keypoints.

    The paper does not state the NMS threshold; 0.6 is FCOS's.
    """
    found = candidates([s[image] for s in predictions.scores], min_score)
    found = found[found.scores.argsort(descending=True, stable=True)[:top]]
    theta = found.of([t[image] for t in predictions.theta])
    maps = resize_maps(kp_net(theta, predictions.f_kp[image], found.points, found.strides), predictions.cell_px)
    keypoints = shifted_peaks(maps, predictions.disk[image], predictions.cell_px)
    boxes = rectangles(keypoints)
    if predictions.boxes:
        sides = found.of([b[image] for b in predictions.boxes])
        boxes = torch.cat((found.points - sides[:, :2], found.points + sides[:, 2:]), dim=1)
    keep = nms(boxes, found.scores, threshold)[:max_people]
    found = found[keep]
    return Instances(keypoints[keep], boxes[keep], found.scores, found.level, found.location)


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
