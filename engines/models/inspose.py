"""InsPose: Instance-Aware Dynamic Networks for Single-Stage Multi-Person Pose Estimation, Shi et al., ACM MM 2021.

    image ─ ResNet or HRNet ─ FPN ─ P3 … P7
      every level   classification tower ── person or not at each location
                    parameter tower ────── θ, 313 numbers: the KP-Net of the person at that location
      P3            keypoint features F_kp (8 maps), disk offsets (2 a keypoint), auxiliary heatmaps (training only)
    KP-Net_θ(F_kp ⊕ coordinates relative to the location) ── one map a keypoint; arg-max + disk offset = keypoint

:class:`InsPose` is the paper. What it leaves open, decided here: group normalisation in the towers (FCOS); relative
coordinates divided by 8 strides of the level the location lies on (as released; without a scale, a large person's
coordinates would dwarf the features). :mod:`engines.models.inspose_released` is the later network of the public code.

The ablations of Tables 1 to 4 are keyword arguments of :class:`InsPose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.layers.kp_nets import (
    FEATURES,
    KEYPOINTS,
    MAP_STRIDES,
    MAX_DEPTH,
    STRIDES,
    kp_net,
    kp_net_parameters,
    locations,
    rectangles,
    resize_maps,
    shifted_peaks,
)
from engines.layers.nms import nms
from engines.models.hrnet import COMPACT, W32, HRNetConfig
from engines.models.resnet_fpn import FPN, HRNetPyramid, ResNet


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
