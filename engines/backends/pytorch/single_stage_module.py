"""InsPose with answers of fixed shape: pictures as they lie in memory in, candidates for people out.

    pictures ─ normalise ─ InsPose ─ the best M locations of all levels ─ their KP-Nets ─ points, scores, boxes

What is left to whoever runs it is suppression of doubles, whose answers have no fixed shape
(``engines.inference.nms``). So this is what is exported, and what the PyTorch backend runs. The published order of the
released network is suppression first and KP-Nets for those left; as it reads the boxes and scores of *regressed*
keypoints alone, the same people come out, as long as no more than M locations pass the score threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.layers.upsample2x import upsample2x
from engines.models.inspose import (
    KEYPOINTS,
    STRIDES,
    InsPose,
    InsPoseReleased,
    Predictions,
    kp_nets,
    locations,
    moved_cells,
    rectangles,
)
from engines.spec.picture_signature import CANDIDATES, PictureSignature, Suppression
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Triple

CELLS_AT_ONCE = 25 * 200 * 336
"""Of the maps of a joint: as many KP-Nets are computed together as have so many, 25 at 1344x800 as released. Their
maps then take 115 MB, where those of 500 would take 2.3 GB."""

PAPER = Suppression(kind="hard", iou=0.6, min_score=0.1)
"""Sec. 3.4; it does not state the overlap, 0.6 is FCOS's."""

RELEASED = Suppression(kind="soft", iou=0.3, min_score=0.05)
"""Of the public code's configuration."""


@dataclass
class Chosen:
    """M locations of each picture.

    ``scores`` (B, M) 0..1; ``points`` (B, M, 2) px; ``strides`` (B, M) of their levels; ``index`` (B, M) into all
    locations, level by level.
    """

    scores: Tensor
    points: Tensor
    strides: Tensor
    index: Tensor

    def __getitem__(self, some: slice) -> Chosen:
        return Chosen(self.scores[:, some], self.points[:, some], self.strides[:, some], self.index[:, some])

    def of(self, maps: list[Tensor]) -> Tensor:
        """The columns of per-level maps (B, C, h, w) at these locations: (B, M, C)."""
        columns = torch.cat([level.flatten(2) for level in maps], dim=2)
        wanted = self.index[:, None].expand(-1, columns.shape[1], -1)
        return torch.gather(columns, 2, wanted).transpose(1, 2)


def best(scores: list[Tensor], most: int) -> Tensor:
    """Where the ``most`` highest scores are, or all where there are fewer: (B, M) into all locations, level by level.

    ``scores``: logits (B, 1, h, w) of each level.
    """
    logits = torch.cat([level.flatten(1) for level in scores], dim=1)
    return logits.topk(min(most, logits.shape[1])).indices


def at(scores: list[Tensor], index: Tensor) -> Chosen:
    """The locations ``index`` (B, M)."""
    logits = torch.cat([level.flatten(1) for level in scores], dim=1)
    sizes = [level.shape[2:] for level in scores]
    places = torch.cat([locations(h, w, s, logits) for (h, w), s in zip(sizes, STRIDES, strict=True)])
    strides = torch.cat([logits.new_full((h * w,), s) for (h, w), s in zip(sizes, STRIDES, strict=True)])
    return Chosen(torch.sigmoid(torch.gather(logits, 1, index)), places[index], strides[index], index)


class Pictures(nn.Module):
    """``(N, H, W, 3) uint8`` blue first ``-> points (N, M, 17, 3), scores (N, M), boxes (N, M, 4)``, best first.

    H and W are multiples of 32. ``points`` are x px, y px and the person's score: InsPose has none of a single joint.
    ``boxes`` are those that suppression compares. ``mean`` and ``std`` in grey levels, red first.
    """

    def __init__(
        self,
        model: InsPose | InsPoseReleased,
        most: int = CANDIDATES,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.model = model
        self.most = most
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    @property
    def suppression(self) -> Suppression:
        """What its candidates go through before they are people."""
        return RELEASED if isinstance(self.model, InsPoseReleased) else PAPER

    @property
    def cell_px(self) -> int:
        """In cells of this size keypoints are found, and disk offsets given."""
        return STRIDES[0] // 2 if isinstance(self.model, InsPoseReleased) else STRIDES[0]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        predictions = self.model(self.normalised(pictures))
        chosen = at(predictions.scores, best(predictions.scores, self.most))
        return self.candidates_of(predictions, chosen, self.cells(predictions, chosen))

    def cells(self, predictions: Predictions, chosen: Chosen) -> Tensor:
        """The highest cell, row by row, of every KP-Net's maps: (B, M, 17)."""
        return torch.cat([maps.flatten(3).argmax(3) for maps in self.maps(predictions, chosen)], dim=1)

    def candidates_of(self, predictions: Predictions, chosen: Chosen, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is given of the ``chosen`` whose joints lie in ``cells``."""
        places = moved_cells(cells, predictions.disk, self.cell_px)
        points = torch.cat((places, chosen.scores[..., None, None].expand(-1, -1, KEYPOINTS, 1)), dim=3)
        return points, chosen.scores, _boxes(predictions, chosen, places)

    def maps(self, predictions: Predictions, chosen: Chosen) -> Iterator[Tensor]:
        """What the KP-Nets of the chosen say, some at a time: (B, n, 17, h, w)."""
        theta = chosen.of(predictions.theta)
        size = predictions.disk.shape[2:]
        at_once = max(1, CELLS_AT_ONCE // size.numel())
        for start in range(0, theta.shape[1], at_once):
            some = chosen[start : start + at_once]
            maps = kp_nets(theta[:, start : start + at_once], predictions.f_kp, some.points, some.strides)
            is_fine = size == maps.shape[3:]
            yield maps if is_fine else upsample2x(maps.flatten(0, 2)).unflatten(0, maps.shape[:3])

    def normalised(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W), red first."""
        planes = pictures.permute(0, 3, 1, 2).flip(1).to(self.mean.dtype)
        return (planes - self.mean) / self.std


def shipped(model: nn.Module, signature: PictureSignature) -> Pictures:
    """What the graph of an export with this signature computes; ``model`` is filled and ready to run."""
    if not isinstance(model, InsPose | InsPoseReleased):
        raise TypeError(f"{type(model).__name__} gives no candidates; a network of whole pictures is an InsPose")
    return Pictures(model, signature.candidates, signature.mean, signature.std).eval()


def _boxes(predictions: Predictions, chosen: Chosen, places: Tensor) -> Tensor:
    """(B, M, 4): around regressed keypoints, by the box head, or around the keypoints, as the network was published."""
    if predictions.regressed:
        cells = chosen.of(predictions.regressed).unflatten(2, (KEYPOINTS, 2))
        return rectangles(chosen.points[:, :, None] + cells * chosen.strides[..., None, None])
    if predictions.boxes:
        sides = chosen.of(predictions.boxes)
        return torch.cat((chosen.points - sides[..., :2], chosen.points + sides[..., 2:]), dim=2)
    return rectangles(places)
