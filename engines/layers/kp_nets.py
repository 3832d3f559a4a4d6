"""InsPose's KP-Nets: small networks whose weights are predicted for each person, and the keypoints in their maps.

    KP-Net_θ(F_kp ⊕ coordinates relative to the location) ── one map a keypoint; arg-max + disk offset = keypoint

Shi et al., ACM MM 2021, Sec. 3.2 and 3.3.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)
KEYPOINTS = 17
FEATURES = 8
MAP_STRIDES = (16, 8, 4, 2)
"""Resolutions of the keypoint maps and disk offsets in Table 3."""


def kp_net_widths(depth: int) -> list[tuple[int, int]]:
    """Input and output channels of the 1×1 convolutions of a KP-Net of ``depth`` layers (Table 2)."""
    widths = [FEATURES + 2, *[8] * (depth - 1), KEYPOINTS]
    return list(pairwise(widths))


def kp_net_parameters(depth: int = 3) -> int:
    """Weights and biases of a KP-Net.

    >>> [kp_net_parameters(depth) for depth in (1, 2, 3, 4)]
    [187, 241, 313, 385]
    """
    return sum(cin * cout + cout for cin, cout in kp_net_widths(depth))


MAX_DEPTH = 4
PARAMETERS = kp_net_parameters()
"""313: conv1 (8+2)·8+8, conv2 8·8+8, conv3 8·17+17 (Sec. 3.2)."""
_DEPTHS = {kp_net_parameters(depth): depth for depth in range(1, MAX_DEPTH + 1)}


def locations(h: int, w: int, stride: int, like: Tensor) -> Tensor:
    """Where the cells of a level lie in the image: (h·w, 2) px, x first; cell (i, j) at (j·s + ⌊s/2⌋, i·s + ⌊s/2⌋)."""
    x = torch.arange(w, device=like.device, dtype=like.dtype) * stride + stride // 2
    y = torch.arange(h, device=like.device, dtype=like.dtype) * stride + stride // 2
    return torch.stack((x.repeat(h), y.repeat_interleave(w)), dim=1)


def kp_nets(theta: Tensor, f_kp: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Eq. 4's FCN for n instances of each of B pictures at once.

    ``theta`` (B, n, 313), or as many as another depth has; ``f_kp`` (B, 8, h, w) at stride 8; ``points`` (B, n, 2) px,
    where each θ was made; ``strides`` (B, n) of their levels. Returns logits (B, n, 17, h, w).
    """
    (b, _, h, w), n = f_kp.shape, theta.shape[1]
    grid = locations(h, w, STRIDES[0], f_kp)  # (h·w, 2)
    relative = (grid.T - points[..., None]) / (8 * strides)[..., None, None]  # (B, n, 2, h·w)
    x = torch.cat((f_kp.flatten(2)[:, None].expand(-1, n, -1, -1), relative), dim=2)  # (B, n, 10, h·w)
    widths = kp_net_widths(_DEPTHS[theta.shape[2]])
    parts = iter(torch.split(theta, [size for cin, cout in widths for size in (cin * cout, cout)], dim=2))
    for index, (cin, cout) in enumerate(widths):
        x = F.relu(x) if index else x
        x = next(parts).reshape(b, n, cout, cin) @ x + next(parts)[..., None]
    return x.reshape(b, n, KEYPOINTS, h, w)


def kp_net(theta: Tensor, f_kp: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """The same for one picture: (n, 313), (8, h, w), (n, 2) and (n,) to (n, 17, h, w)."""
    return kp_nets(theta[None], f_kp[None], points[None], strides[None])[0]


def resize_maps(maps: Tensor, stride: int) -> Tensor:
    """Maps (…, h, w) of stride 8 at another of the :data:`MAP_STRIDES`, bilinear (Table 3)."""
    if stride == STRIDES[0]:
        return maps
    flat = maps.flatten(0, -4) if maps.dim() > 3 else maps[None]
    sized = F.interpolate(flat, scale_factor=STRIDES[0] / stride, mode="bilinear", align_corners=False)
    return sized.reshape(*maps.shape[:-2], *sized.shape[-2:])


def rectangles(keypoints: Tensor) -> Tensor:
    """Minimum enclosing rectangles of keypoints (…, K, 2): (…, 4) x1, y1, x2, y2."""
    return torch.cat((keypoints.amin(-2), keypoints.amax(-2)), dim=-1)


def moved_cells(peaks: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Eq. 3: cells (B, n, K), row by row, plus the disk offsets (B, 2K, h, w) found there: (B, n, K, 2) px."""
    b, _, k = peaks.shape
    w = offsets.shape[3]
    pairs = offsets.reshape(b, k, 2, -1)  # (B, K, 2, h·w)
    delta = torch.gather(pairs, 3, peaks.transpose(1, 2)[:, :, None].expand(-1, -1, 2, -1))  # (B, K, 2, n)
    row = torch.div(peaks, w, rounding_mode="floor")
    cell = torch.stack((peaks - row * w, row), dim=3)
    return (cell + delta.permute(0, 3, 1, 2)) * stride


def shifted_peaks(maps: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Eqs. 2 and 3 in one picture: the arg-max of each map (n, K, h, w), plus ``offsets`` (2K, h, w): (n, K, 2)."""
    return moved_cells(maps.flatten(2).argmax(2)[None], offsets[None], stride)[0]
