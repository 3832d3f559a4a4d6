"""Targets around the keypoints of all people of a picture: Gaussians, and offsets to the keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Dense:
    """Targets of a map: ``heatmaps`` (K, h, w), ``disk`` (2K, h, w) cells, ``mask`` (K, h, w) where they hold."""

    heatmaps: Tensor
    disk: Tensor
    mask: Tensor


def gaussian_radius(height: Tensor, width: Tensor, overlap: float = 0.9) -> Tensor:
    """CornerNet's radius with the roots of its original code, as the released InsPose has it; (n,) cells."""
    sums = height + width
    c = width * height
    radii = []
    for a, b, last in (
        (1.0, sums, c * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * sums, (1 - overlap) * c),
        (4 * overlap, -2 * overlap * sums, (overlap - 1) * c),
    ):
        radii.append((b + (b**2 - 4 * a * last).clamp(min=0).sqrt()) / 2)
    return torch.stack(radii).amin(0)


def dense_targets(keypoints: Tensor, size: tuple[int, int], stride: int, radii: Tensor, *, disk: bool) -> Dense:
    """Gaussians and offsets around every labelled keypoint of ``keypoints`` (n, K, 3) px, on the same device.

    ``radii`` (n,) cells, one for each person; the Gaussian's σ is (2r+1)/6. ``disk=True`` gives offsets within the
    Euclidean radius (InsPose, Sec. 3.3), else in the square window (released). Where people overlap, the greater value
    and the shorter offset win.
    """
    (h, w), count = size, keypoints.shape[1]
    person, joint = (keypoints[..., 2] > 0).nonzero(as_tuple=True)
    q = keypoints[person, joint, :2] / stride  # (m, 2) cells
    r = radii.to(q)[person, None]
    reach = int(radii.max().ceil()) + 1 if len(radii) else 0
    steps = torch.arange(-reach, reach + 1, device=q.device)
    dy, dx = (steps.repeat_interleave(len(steps)), steps.repeat(len(steps)))  # (p,)
    x, y = (q.floor().long()[:, axis, None] + step for axis, step in ((0, dx), (1, dy)))  # (m, p) cells
    delta = torch.stack((q[:, 0, None] - x, q[:, 1, None] - y), dim=2)  # (m, p, 2)
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    window = (dx.abs() <= r) & (dy.abs() <= r)
    cells = ((joint[:, None] * h + y) * w + x).masked_fill(~inside, 0)
    gaussian = torch.exp(-(dx**2 + dy**2) / (2 * ((2 * r + 1) / 6) ** 2))
    gaussian = gaussian * (window & inside & (gaussian >= torch.finfo(gaussian.dtype).eps))
    heat = gaussian.new_zeros(count * h * w).scatter_reduce(0, cells.flatten(), gaussian.flatten(), "amax")
    length = delta.norm(dim=2)
    allowed = inside & ((length <= r) if disk else window)
    offsets, mask = _shortest(delta[allowed], length[allowed], cells[allowed], count * h * w)
    return Dense(
        heat.reshape(count, h, w),
        offsets.reshape(count, h, w, 2).permute(0, 3, 1, 2).flatten(0, 1),
        mask.reshape(count, h, w),
    )


def _shortest(delta: Tensor, length: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For each of ``size`` cells its shortest offset (size, 2), and whether it has one; the first of equal ones."""
    best = length.new_full((size,), torch.inf).scatter_reduce(0, cells, length, "amin")
    order = torch.arange(len(cells), device=cells.device).masked_fill(length > best[cells], len(cells))
    first = order.new_full((size,), len(cells)).scatter_reduce(0, cells, order, "amin")
    mask = best.isfinite()
    offsets = delta.new_zeros(size, 2)
    offsets[mask] = delta[first[mask]]
    return offsets, mask


def disk_l1(predicted: Tensor, targets: Sequence[Dense]) -> Tensor:
    """Mean L1 over the coordinates of the offsets (B, 2K, h, w) where there is a target."""
    mask = torch.stack([t.mask for t in targets]).repeat_interleave(2, dim=1)
    wanted = torch.stack([t.disk for t in targets])
    return ((predicted - wanted).abs() * mask).sum() / (mask.sum() + 1e-4)
