"""Heatmap targets, and the mean squared errors of HRNet, DCPose, FAMI-Pose, IMAPose and FaSRnet."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_heatmaps(
    joints: Tensor, weights: Tensor, size: tuple[int, int], sigma: float, stride: float = 4.0, *, unbiased: bool = False
) -> tuple[Tensor, Tensor]:
    """Targets with a peak of 1 at each joint: ``(heatmaps (J, h, w), weights (J,))``.

    ``joints`` (J, 2) px of the crop; ``weights`` (J,), at most 0.5 for a joint without a label; ``size`` (w, h) of the
    maps; ``sigma`` in cells (2 at 256x192, 3 at 384x288). The centre is the cell ⌊x/stride + 0.5⌋ (rounded towards
    zero, as published), or with ``unbiased`` the joint's sub-cell position (DARK, Zhang et al., CVPR 2020, Sec. 3.3).
    The Gaussian is cut off at 3σ. A joint whose patch lies outside gets weight 0.
    """
    w, h = size
    radius = 3 * sigma
    places = joints.double() / stride
    centre = places if unbiased else torch.trunc(places + 0.5)
    mx, my = centre[:, 0, None], centre[:, 1, None]
    xs, ys = torch.arange(w, dtype=torch.float64), torch.arange(h, dtype=torch.float64)
    dx, dy = xs[None] - mx, ys[None] - my  # (J, w), (J, h)
    gaussian = torch.exp(-(dx[:, None, :] ** 2 + dy[:, :, None] ** 2) / (2 * sigma**2))
    inside = (dx.abs() <= radius)[:, None, :] & (dy.abs() <= radius)[:, :, None]
    touches = (mx - radius < w) & (my - radius < h) & (mx + radius + 1 > 0) & (my + radius + 1 > 0)
    weights = torch.where(touches[:, 0], weights.double(), 0.0)
    heatmaps = gaussian * inside * (weights > 0.5)[:, None, None]
    return heatmaps.float(), weights.float()


def heatmap_mse(predicted: Tensor, target: Tensor, weights: Tensor | None = None, *, half: bool = False) -> Tensor:
    """Mean over joints of the mean squared error of weighted maps; both (B, J, h, w), ``weights`` (B, J, 1) or None.

    ``half=True`` is HRNet's, with the factor ½; without it DCPose's, FaSRnet's and FAMI-Pose's. Joints of weight 0
    count in the divisor.
    """
    error = predicted - target
    if weights is not None:
        error = error * weights.reshape(*error.shape[:2], 1, 1)
    loss = error.square().mean()
    return 0.5 * loss if half else loss


def visible_l2(predicted: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """IMAPose, Eq. 8: (1/J) Σ_j v_j ‖H_j - Ĥ_j‖², averaged over the batch; ``visible`` (B, J) in {0, 1}.

    ‖·‖² is taken as the mean over the pixels, so that the scale does not change with the size of the input.
    """
    return (visible * (predicted - target).square().mean(dim=(2, 3))).mean()
