"""InsPose's losses: the paper's four (Eq. 5) and the released code's seven.

paper     L = L_cls + L_kpf + L_do + L_hm      focal, keypoint cross-entropy (Eq. 4), L1 in a disk, heatmap focal
released  varifocal with an OKS target, cross-entropy, L1 of regressed keypoints, heatmap focal,
          associative embedding pull and push, L1 of disk offsets
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engines.losses.assignment import Assignment, assign, pseudo_boxes
from engines.models.inspose import KEYPOINTS, STRIDES, Predictions, kp_net
from engines.skeletons import SKELETONS

UNLABELLED_TARGET = 0.1
"""Released classification target of a person without any labelled keypoint."""


@dataclass
class People:
    """The truth of one image. ``keypoints`` (n, 17, 3) px, v > 0 where labelled; ``boxes`` (n, 4) px, by default the
    rectangles of the labelled keypoints; ``areas`` (n,) px² of the segmentation, for the released loss only."""

    keypoints: Tensor
    boxes: Tensor
    areas: Tensor | None = None

    @classmethod
    def of(cls, keypoints: Tensor) -> People:
        return cls(keypoints, pseudo_boxes(keypoints))


@dataclass
class Positives:
    """The locations of one image that are assigned to a person. ``index`` counts in the concatenated levels."""

    index: Tensor
    person: Tensor
    points: Tensor
    strides: Tensor
    maps: Tensor


def flat(maps: Sequence[Tensor], image: int) -> Tensor:
    """Per-level maps (B, C, h, w) of one image as rows: (L, C)."""
    return torch.cat([m[image].flatten(1).T for m in maps])


def positives(predictions: Predictions, image: int, assignment: Assignment) -> Positives:
    """The positive locations of ``image`` with the output of their KP-Nets: ``maps`` (p, 17, H/8, W/8) logits."""
    index = (assignment.person >= 0).nonzero()[:, 0]
    points, strides = assignment.points[index], assignment.strides[index]
    maps = kp_net(flat(predictions.theta, image)[index], predictions.f_kp[image], points, strides)
    return Positives(index, assignment.person[index], points, strides, maps)


def assignments(predictions: Predictions, truth: Sequence[People]) -> list[Assignment]:
    """One assignment for each image."""
    sizes = [(int(s.shape[2]), int(s.shape[3])) for s in predictions.scores]
    return [assign(sizes, people.boxes) for people in truth]


# -- terms ------------------------------------------------------------------------------------------------------------


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017, Eq. 5), summed; ``target`` in {0, 1}."""
    p = torch.sigmoid(logits)
    weight = torch.where(target > 0, alpha * (1 - p) ** gamma, (1 - alpha) * p**gamma)
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()


def varifocal(logits: Tensor, target: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Varifocal loss (Zhang et al., CVPR 2021, Eq. 2), summed; ``target`` the quality, 0 for background."""
    p = torch.sigmoid(logits)
    weight = torch.where(target > 0, target, alpha * p**gamma)
    return (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()


def heatmap_focal(logits: Tensor, target: Tensor) -> Tensor:
    """CornerNet's focal loss (Law and Deng, ECCV 2018, Eq. 1): exponents 2 and 4, divided by the number of peaks."""
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    peak = target == 1
    loss = torch.where(peak, -p.log() * (1 - p) ** 2, -(1 - p).log() * p**2 * (1 - target) ** 4)
    return loss.sum() / peak.sum().clamp(min=1)


def keypoint_cross_entropy(maps: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of every labelled keypoint's map: ``(sum, number)``; maps (p, 17, h, w) at stride 8."""
    _, _, h, w = maps.shape
    labelled = keypoints[..., 2] > 0
    cell = torch.div(keypoints[..., :2], STRIDES[0], rounding_mode="floor").long()
    target = cell[..., 1].clamp(0, h - 1) * w + cell[..., 0].clamp(0, w - 1)
    return F.cross_entropy(maps.flatten(2)[labelled], target[labelled], reduction="sum"), labelled.sum()


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


@dataclass
class Dense:
    """Targets of a map: ``heatmaps`` (17, h, w), ``disk`` (34, h, w) cells, ``mask`` (17, h, w) where they hold."""

    heatmaps: Tensor
    disk: Tensor
    mask: Tensor


def dense_targets(people: People, size: tuple[int, int], stride: int, radii: Tensor, *, disk: bool) -> Dense:
    """Gaussians and offsets around every labelled keypoint; ``radii`` (n,) cells, one for each person.

    The Gaussian's σ is (2r+1)/6. ``disk=True`` gives offsets within the Euclidean radius (Sec. 3.3), else in the square
    window (released). Where people overlap, the greater value and the shorter offset win.
    """
    h, w = size
    heat = people.boxes.new_zeros(KEYPOINTS, h, w)
    best = people.boxes.new_full((KEYPOINTS, h, w), torch.inf)
    offsets = people.boxes.new_zeros(KEYPOINTS, 2, h, w)
    ys, xs = torch.arange(h)[:, None], torch.arange(w)[None]
    for person, k in (people.keypoints[..., 2] > 0).nonzero():
        q = people.keypoints[person, k, :2] / stride
        cx, cy = int(q[0].floor()), int(q[1].floor())
        r = radii[person]
        dx, dy = xs - cx, ys - cy
        window = (dx.abs() <= r) & (dy.abs() <= r)
        gaussian = torch.exp(-(dx**2 + dy**2) / (2 * ((2 * r + 1) / 6) ** 2))
        gaussian = gaussian * (gaussian >= torch.finfo(gaussian.dtype).eps)
        heat[k] = torch.where(window, torch.maximum(heat[k], gaussian.to(heat.dtype)), heat[k])
        delta = torch.stack(((q[0] - xs).expand(h, w), (q[1] - ys).expand(h, w)))
        length = delta.norm(dim=0)
        region = (length <= r) if disk else window
        better = region & (length < best[k])
        best[k] = torch.where(better, length, best[k])
        offsets[k] = torch.where(better, delta, offsets[k])
    return Dense(heat, offsets.flatten(0, 1), best.isfinite())


def disk_l1(predicted: Tensor, targets: Sequence[Dense]) -> Tensor:
    """Mean L1 over the coordinates of the offsets (B, 34, h, w) where there is a target."""
    mask = torch.stack([t.mask for t in targets]).repeat_interleave(2, dim=1)
    wanted = torch.stack([t.disk for t in targets])
    return ((predicted - wanted).abs() * mask).sum() / (mask.sum() + 1e-4)


# -- the paper --------------------------------------------------------------------------------------------------------


def paper_losses(predictions: Predictions, truth: Sequence[People], radius: float = 2.0) -> dict[str, Tensor]:
    """Eq. 5's four terms, to be summed. ``radius`` of the disks, cells of stride 8; the paper's R is not stated."""
    if predictions.heatmaps is None:
        raise ValueError("InsPose losses need the auxiliary heatmaps: call model.train() before the forward pass")
    found = assignments(predictions, truth)
    logits = torch.cat([flat(predictions.scores, i)[:, 0] for i in range(len(truth))])
    target = torch.cat([(a.person >= 0).to(logits.dtype) for a in found])
    n_pos = target.sum().clamp(min=1)
    total, count = logits.new_zeros(()), logits.new_zeros(())
    for i, (people, a) in enumerate(zip(truth, found, strict=True)):
        chosen = positives(predictions, i, a)
        loss, _ = keypoint_cross_entropy(chosen.maps, people.keypoints[chosen.person])
        total, count = total + loss, count + len(chosen.person)
    h, w = predictions.disk.shape[2:]
    dense = [dense_targets(p, (h, w), STRIDES[0], torch.full((len(p.boxes),), radius), disk=True) for p in truth]
    return {
        "classification": focal(logits, target) / n_pos,
        "keypoint": total / count.clamp(min=1),
        "disk_offset": disk_l1(predictions.disk, dense),
        "heatmap": heatmap_focal(predictions.heatmaps, torch.stack([d.heatmaps for d in dense])),
    }


# -- the released code ------------------------------------------------------------------------------------------------


def oks_targets(chosen: Positives, people: People) -> Tensor:
    """Quality (p,) of each positive's present peaks: OKS on the integer grid of stride 8 against the labelled cells.

    As released, distances are in cells while areas are in px², which makes it 64 times too lenient in d².
    """
    if people.areas is None:
        raise ValueError("the released InsPose loss needs segmentation areas: give People(areas=)")
    w = chosen.maps.shape[3]
    keypoints = people.keypoints[chosen.person]
    labelled = keypoints[..., 2] > 0
    peak = chosen.maps.detach().flatten(2).argmax(2)
    cell = torch.stack((peak % w, torch.div(peak, w, rounding_mode="floor")), dim=2).to(keypoints.dtype)
    wanted = torch.div(keypoints[..., :2], STRIDES[0], rounding_mode="floor")
    variances = (2 * keypoints.new_tensor(SKELETONS["coco17"].sigmas)) ** 2
    d2 = (cell - wanted).square().sum(2)
    similarity = torch.exp(-d2 / variances / (people.areas[chosen.person, None] + 1e-4) / 2)
    count = labelled.sum(1)
    oks = (similarity * labelled).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, oks, torch.full_like(oks, UNLABELLED_TARGET))


def embedding(tags: Tensor, people: People) -> tuple[Tensor, Tensor]:
    """Associative embedding (Newell et al., NeurIPS 2017) of one image: pull and push; ``tags`` (17, H/4, W/4).

    As released, the tag of a keypoint is read one cell up and left of its own, wrapping round at 0.
    """
    means, pull = [], tags.new_zeros(())
    for keypoints in people.keypoints:
        labelled = (keypoints[:, 2] > 0).nonzero()[:, 0]
        if len(labelled):
            cell = torch.div(keypoints[labelled, :2], 4, rounding_mode="floor").long() - 1
            values = tags[labelled, cell[:, 1], cell[:, 0]]
            means.append(values.mean())
            pull = pull + (values - values.mean()).square().mean()
    n = len(means)
    if n < 2:
        return pull / max(n, 1), pull * 0
    between = torch.stack(means)
    similarity = torch.exp(-((between[:, None] - between[None]) ** 2)).sum() - n
    return pull / n, similarity / (2 * n * (n - 1))


def released_losses(predictions: Predictions, truth: Sequence[People]) -> dict[str, Tensor]:
    """The seven terms by the released names, to be summed."""
    found = assignments(predictions, truth)
    logits, targets = [], []
    kp_sum, reg_sum = predictions.f_kp.new_zeros(()), predictions.f_kp.new_zeros(())
    labelled, n_pos = predictions.f_kp.new_zeros(()), 0
    for i, (people, a) in enumerate(zip(truth, found, strict=True)):
        chosen = positives(predictions, i, a)
        keypoints = people.keypoints[chosen.person]
        loss, count = keypoint_cross_entropy(chosen.maps, keypoints)
        regressed = flat(predictions.regressed, i)[chosen.index].reshape(-1, KEYPOINTS, 2)
        wanted = (keypoints[..., :2] - chosen.points[:, None]) / chosen.strides[:, None, None]
        reg_sum = reg_sum + ((regressed - wanted).abs() * (keypoints[..., 2:] > 0)).sum()
        kp_sum, labelled, n_pos = kp_sum + loss, labelled + count, n_pos + len(chosen.person)
        scores = flat(predictions.scores, i)[:, 0]
        target = torch.zeros_like(scores).index_put((chosen.index,), oks_targets(chosen, people))
        logits.append(scores)
        targets.append(target.detach())
    return {
        "loss_cls": varifocal(torch.cat(logits), torch.cat(targets)) / (n_pos + len(truth)),
        "loss_keypoint": kp_sum / labelled.clamp(min=1),
        "loss_keypoint_reg": reg_sum / (2 * labelled).clamp(min=1),
        **_released_dense(predictions, truth),
    }


def _released_dense(predictions: Predictions, truth: Sequence[People]) -> dict[str, Tensor]:
    if predictions.heatmaps is None or predictions.tags is None:
        raise ValueError("released_losses needs predictions of InsPoseReleased; these have no heatmaps and tags")
    h, w = predictions.disk.shape[2:]
    dense = []
    for people in truth:
        sides = (people.boxes[:, 2:] - people.boxes[:, :2]) / 4
        radii = gaussian_radius(sides[:, 1], sides[:, 0]).floor().clamp(0, 3)
        dense.append(dense_targets(people, (h, w), 4, radii, disk=False))
    pairs = [embedding(tags, people) for tags, people in zip(predictions.tags, truth, strict=True)]
    return {
        "loss_heatmap": heatmap_focal(predictions.heatmaps, torch.stack([d.heatmaps for d in dense])),
        "loss_ae_pull": torch.stack([pull for pull, _ in pairs]).mean(),
        "loss_ae_push": torch.stack([push for _, push in pairs]).mean(),
        "loss_heatmap_offset": disk_l1(predictions.disk, dense),
    }
