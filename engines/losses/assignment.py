"""Assignment of pyramid locations to people: FCOS (Tian et al., ICCV 2019, Sec. 3.1) with centre sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.layers.kp_nets import STRIDES, locations

RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8))
"""Range of the largest distance (px) from a location to a side of its box, for each level, inclusive."""

RADIUS = 1.5
"""Radius of the centre region, in strides (InsPose Sec. 3.1)."""


@dataclass
class Assignment:
    """Locations of all levels in order. ``person`` (L,) index of the person assigned to each, -1 for background;
    ``points`` (L, 2) px; ``strides`` (L,) px; ``level``, ``location`` (L,)."""

    person: Tensor
    points: Tensor
    strides: Tensor
    level: Tensor
    location: Tensor


def pseudo_boxes(keypoints: Tensor) -> Tensor:
    """Enclosing rectangles (n, 4) of the labelled keypoints (n, K, 3: x, y, v); all zeros for a person without any."""
    labelled = keypoints[..., 2:] > 0
    low = keypoints[..., :2].masked_fill(~labelled, torch.inf).amin(1)
    high = keypoints[..., :2].masked_fill(~labelled, -torch.inf).amax(1)
    return torch.cat((low, high), dim=1).masked_fill(~labelled.any(1), 0.0)


def assign(sizes: list[tuple[int, int]], boxes: Tensor) -> Assignment:
    """Assign locations of levels of ``sizes`` (h, w) to ``boxes`` (n, 4) px.

    A location belongs to the smallest box whose centre region it lies strictly inside and whose size suits its level.
    """
    points = torch.cat([locations(h, w, s, boxes) for (h, w), s in zip(sizes, STRIDES, strict=True)])
    counts = torch.tensor([h * w for h, w in sizes], device=boxes.device)
    level = torch.arange(len(sizes), device=boxes.device).repeat_interleave(counts)
    location = torch.cat([torch.arange(h * w, device=boxes.device) for h, w in sizes])
    strides = boxes.new_tensor(STRIDES)[level]
    if not len(boxes):
        return Assignment(torch.full_like(level, -1), points, strides, level, location)
    x, y = points[:, 0, None], points[:, 1, None]
    sides = torch.stack((x - boxes[:, 0], y - boxes[:, 1], boxes[:, 2] - x, boxes[:, 3] - y), dim=2)  # (L, n, 4)
    centre, reach = (boxes[:, :2] + boxes[:, 2:]) / 2, RADIUS * strides[:, None, None]
    low = torch.maximum(centre - reach, boxes[:, :2])
    high = torch.minimum(centre + reach, boxes[:, 2:])
    spot = points[:, None]
    inside = ((spot > low) & (spot < high)).all(2)
    limits = boxes.new_tensor(RANGES)[level]
    farthest = sides.amax(2)
    suits = (farthest >= limits[:, :1]) & (farthest <= limits[:, 1:])
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).expand(len(points), -1)
    smallest, person = areas.masked_fill(~(inside & suits), torch.inf).min(1)
    return Assignment(person.masked_fill(smallest == torch.inf, -1), points, strides, level, location)
