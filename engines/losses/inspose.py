"""InsPose's losses: the paper's four (Eq. 5) and the released code's seven.

paper     L = L_cls + L_kpf + L_do + L_hm      focal, keypoint cross-entropy (Eq. 4), L1 in a disk, heatmap focal;
          GIoU with a box head (the paper does not name its loss; this is that of FCOS's released code)
released  varifocal with an OKS target, cross-entropy, L1 of regressed keypoints, heatmap focal,
          associative embedding pull and push, L1 of disk offsets
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engines.layers.kp_nets import KEYPOINTS, STRIDES, kp_net, resize_maps
from engines.losses.assignment import Assignment, assign, pseudo_boxes
from engines.losses.boxes import giou_loss
from engines.losses.dense_targets import Dense, dense_targets, disk_l1, gaussian_radius
from engines.models.inspose import Predictions
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

    def to(self, device: torch.device) -> People:
        """The same people on another device."""
        areas = None if self.areas is None else self.areas.to(device)
        return People(self.keypoints.to(device), self.boxes.to(device), areas)


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


def keypoint_cross_entropy(maps: Tensor, keypoints: Tensor, stride: int = STRIDES[0]) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of every labelled keypoint's map: ``(sum, number)``; maps (p, 17, h, w) of ``stride``."""
    _, _, h, w = maps.shape
    labelled = keypoints[..., 2] > 0
    cell = torch.div(keypoints[..., :2], stride, rounding_mode="floor").long()
    target = cell[..., 1].clamp(0, h - 1) * w + cell[..., 0].clamp(0, w - 1)
    return F.cross_entropy(maps.flatten(2)[labelled], target[labelled], reduction="sum"), labelled.sum()


# -- the paper --------------------------------------------------------------------------------------------------------


def paper_losses(
    predictions: Predictions, truth: Sequence[People], *, radius: float = 2.0, disk: bool = True, heatmap: bool = True
) -> dict[str, Tensor]:
    """Eq. 5's four terms, to be summed, and ``box`` if the network has a box head.

    Eq. 4 does not say whether the cross-entropy of a location is the sum or the mean over its keypoints. It is the mean
    here, as released: with the sum, the gradient of ``keypoint`` was 520 times that of ``heatmap`` after 50 steps of
    one trial on drawn pictures, which no benchmark repeats. ``keypoint: 17`` among a recipe's terms gives the sum.

    ``radius`` of the disks, cells; the paper's R is not stated. ``disk`` and ``heatmap``: whether the network has
    those branches (Table 1). With a box head, locations are assigned by the boxes of ``truth``, which should then be
    those of the people instead of their keypoints (Table 4).
    """
    if heatmap and predictions.heatmaps is None:
        raise ValueError("InsPose losses need the auxiliary heatmaps: call model.train() before the forward pass")
    found = assignments(predictions, truth)
    logits = torch.cat([flat(predictions.scores, i)[:, 0] for i in range(len(truth))])
    target = torch.cat([(a.person >= 0).to(logits.dtype) for a in found])
    n_pos = target.sum().clamp(min=1)
    total, labelled, box = (logits.new_zeros(()) for _ in range(3))
    for i, (people, a) in enumerate(zip(truth, found, strict=True)):
        chosen = positives(predictions, i, a)
        maps = resize_maps(chosen.maps, predictions.cell_px)
        loss, count = keypoint_cross_entropy(maps, people.keypoints[chosen.person], predictions.cell_px)
        total, labelled = total + loss, labelled + count
        if predictions.boxes:
            sides = flat(predictions.boxes, i)[chosen.index]
            predicted = torch.cat((chosen.points - sides[:, :2], chosen.points + sides[:, 2:]), dim=1)
            box = box + giou_loss(predicted, people.boxes[chosen.person]).sum()
    terms = {"classification": focal(logits, target) / n_pos, "keypoint": total / labelled.clamp(min=1)}
    if disk:
        offsets = _disks(truth, predictions.disk, predictions.cell_px, radius)
        terms["disk_offset"] = disk_l1(predictions.disk, offsets)
    if heatmap and predictions.heatmaps is not None:
        peaks = _disks(truth, predictions.heatmaps, STRIDES[0], radius)
        terms["heatmap"] = heatmap_focal(predictions.heatmaps, torch.stack([d.heatmaps for d in peaks]))
    return {**terms, "box": box / n_pos} if predictions.boxes else terms


def _disks(truth: Sequence[People], like: Tensor, stride: int, radius: float) -> list[Dense]:
    size = (like.shape[2], like.shape[3])
    return [
        dense_targets(p.keypoints, size, stride, p.boxes.new_full((len(p.boxes),), radius), disk=True) for p in truth
    ]


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
        dense.append(dense_targets(people.keypoints, (h, w), 4, radii, disk=False))
    pairs = [embedding(tags, people) for tags, people in zip(predictions.tags, truth, strict=True)]
    return {
        "loss_heatmap": heatmap_focal(predictions.heatmaps, torch.stack([d.heatmaps for d in dense])),
        "loss_ae_pull": torch.stack([pull for pull, _ in pairs]).mean(),
        "loss_ae_push": torch.stack([push for _, push in pairs]).mean(),
        "loss_heatmap_offset": disk_l1(predictions.disk, dense),
    }
