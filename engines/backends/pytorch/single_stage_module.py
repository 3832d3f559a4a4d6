"""InsPose with outputs of fixed shape: uint8 images in, candidates for people out.

    pictures -> normalise -> InsPose -> best M locations of all levels -> their KP-Nets -> points, scores, boxes

This module is exported, and the backend ``torch`` runs it. Non-maximum suppression, whose output has no fixed shape,
follows outside (``engines.inference.nms``). The released network suppresses first and runs the KP-Nets of the people
left. As it suppresses by boxes and scores of *regressed* keypoints only, the result is the same if at most M locations
pass the score threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.layers.kp_nets import KEYPOINTS, STRIDES, kp_nets, locations, moved_cells, rectangles, resize_maps
from engines.layers.upsample2x import upsample2x
from engines.models.inspose import InsPose, Predictions
from engines.models.inspose_released import InsPoseReleased
from engines.spec.picture_signature import CANDIDATES, PictureSignature, Suppression
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Triple

MAX_CELLS = 25 * 200 * 336
"""Cells of one joint's maps computed at a time: 25 KP-Nets at 1344x800, as released. Their maps take 115 MB; those of
500 would take 2.3 GB."""

PAPER = Suppression(kind="hard", iou=0.6, min_score=0.1)
"""Sec. 3.4 of the paper; it does not state the overlap, 0.6 is that of FCOS."""

RELEASED = Suppression(kind="soft", iou=0.3, min_score=0.05)
"""The configuration of the public code."""


@dataclass
class Locations:
    """M locations of each image.

    ``scores`` (B, M) 0..1; ``points`` (B, M, 2) px; ``strides`` (B, M) of their levels; ``index`` (B, M) into all
    locations, level by level.
    """

    scores: Tensor
    points: Tensor
    strides: Tensor
    index: Tensor

    def __getitem__(self, some: slice) -> Locations:
        return Locations(self.scores[:, some], self.points[:, some], self.strides[:, some], self.index[:, some])

    def gather(self, maps: list[Tensor]) -> Tensor:
        """The values (B, M, C) of per-level maps (B, C, h, w) at these locations."""
        columns = torch.cat([level.flatten(2) for level in maps], dim=2)
        wanted = self.index[:, None].expand(-1, columns.shape[1], -1)
        return torch.gather(columns, 2, wanted).transpose(1, 2)


def find_best(scores: list[Tensor], count: int) -> Tensor:
    """Indices (B, M) of the ``count`` highest scores, or of all if there are fewer, into all locations, level by level.

    ``scores`` are logits (B, 1, h, w) of each level.
    """
    logits = torch.cat([level.flatten(1) for level in scores], dim=1)
    return logits.topk(min(count, logits.shape[1])).indices


def select(scores: list[Tensor], index: Tensor) -> Locations:
    """The locations with indices ``index`` (B, M); ``scores`` as in :func:`find_best`."""
    logits = torch.cat([level.flatten(1) for level in scores], dim=1)
    sizes = [level.shape[2:] for level in scores]
    points = torch.cat([locations(h, w, s, logits) for (h, w), s in zip(sizes, STRIDES, strict=True)])
    strides = torch.cat([logits.new_full((h * w,), s) for (h, w), s in zip(sizes, STRIDES, strict=True)])
    return Locations(torch.sigmoid(torch.gather(logits, 1, index)), points[index], strides[index], index)


class Pictures(nn.Module):
    """Images (N, H, W, 3) uint8 BGR in; points (N, M, 17, 3), scores (N, M) and boxes (N, M, 4) out, best first.

    H and W are multiples of 32, M is ``candidates``. ``points`` are x px, y px and the person's score, since InsPose
    has no scores of joints. ``boxes`` px are those that suppression compares. ``mean`` and ``std`` are RGB grey levels.
    """

    def __init__(
        self,
        model: InsPose | InsPoseReleased,
        candidates: int = CANDIDATES,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.model = model
        self.candidates = candidates
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    @property
    def suppression(self) -> Suppression:
        """The suppression that belongs to the model."""
        return RELEASED if isinstance(self.model, InsPoseReleased) else PAPER

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        predictions = self.model(self.normalise(pictures))
        chosen = select(predictions.scores, find_best(predictions.scores, self.candidates))
        return self.make_candidates(predictions, chosen, self.find_cells(predictions, chosen))

    def find_cells(self, predictions: Predictions, chosen: Locations) -> Tensor:
        """Indices (B, M, 17), row by row, of the highest cell in the maps of each KP-Net."""
        return torch.cat([maps.flatten(3).argmax(3) for maps in self.compute_maps(predictions, chosen)], dim=1)

    def make_candidates(
        self, predictions: Predictions, chosen: Locations, cells: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Points, scores and boxes of the ``chosen`` locations, whose joints are in ``cells``."""
        places = moved_cells(cells, predictions.disk, predictions.cell_px)
        points = torch.cat((places, chosen.scores[..., None, None].expand(-1, -1, KEYPOINTS, 1)), dim=3)
        return points, chosen.scores, _boxes(predictions, chosen, places)

    def compute_maps(self, predictions: Predictions, chosen: Locations) -> Iterator[Tensor]:
        """Maps (B, n, 17, h, w) of the KP-Nets of the chosen locations, some at a time."""
        theta = chosen.gather(predictions.theta)
        size = predictions.disk.shape[2:]
        at_once = max(1, MAX_CELLS // size.numel())
        for start in range(0, theta.shape[1], at_once):
            some = chosen[start : start + at_once]
            maps = kp_nets(theta[:, start : start + at_once], predictions.f_kp, some.points, some.strides)
            if isinstance(self.model, InsPoseReleased):
                yield upsample2x(maps.flatten(0, 2)).unflatten(0, maps.shape[:3])
            else:
                yield resize_maps(maps, predictions.cell_px)

    def normalise(self, pictures: Tensor) -> Tensor:
        """Normalised planes (N, 3, H, W), RGB."""
        planes = pictures.permute(0, 3, 1, 2).flip(1).to(self.mean.dtype)
        return (planes - self.mean) / self.std


def make_part(model: nn.Module, signature: PictureSignature) -> Pictures:
    """The module of the graph of an export with this signature, in evaluation mode; ``model`` has its weights."""
    if not isinstance(model, InsPose | InsPoseReleased):
        raise TypeError(f"{type(model).__name__} has no candidates; a single-stage network is an InsPose")
    return Pictures(model, signature.candidates, signature.mean, signature.std).eval()


def _boxes(predictions: Predictions, chosen: Locations, places: Tensor) -> Tensor:
    """Boxes (B, M, 4): around regressed keypoints, of the box head, or around the keypoints, as published."""
    if predictions.regressed:
        cells = chosen.gather(predictions.regressed).unflatten(2, (KEYPOINTS, 2))
        return rectangles(chosen.points[:, :, None] + cells * chosen.strides[..., None, None])
    if predictions.boxes:
        sides = chosen.gather(predictions.boxes)
        return torch.cat((chosen.points - sides[..., :2], chosen.points + sides[..., 2:]), dim=2)
    return rectangles(places)
