"""The loss of a single-stage network's paper, as one module whose ``forward`` computes a training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.losses.assignment import pseudo_boxes
from engines.losses.inspose import People, paper_losses, released_losses
from engines.models.inspose import InsPose, Instances, Predictions, decode
from engines.models.inspose_released import InsPoseReleased, decode_released
from engines.training.objective import Terms
from engines.training.recipe import Recipe

RELEASED_TERMS = (
    "loss_cls", "loss_keypoint", "loss_keypoint_reg", "loss_heatmap", "loss_ae_pull", "loss_ae_push",
    "loss_heatmap_offset",
)  # fmt: skip


class PictureObjective(nn.Module):
    """``pictures (B, 3, H, W), people of each -> {"total": …, "classification": …, …}``, scalars.

    ``weights`` of terms, 1 where not given. Under autocast the network computes in half precision and every term in
    float32. In evaluation mode there is no auxiliary heatmap, and no term of it.
    """

    def __init__(self, network: str, model: InsPose | InsPoseReleased, weights: dict[str, float]) -> None:
        super().__init__()
        self.model, self._weights = model, weights
        if unknown := weights.keys() - set(self.names):
            raise EngineError(
                f"network {network!r} has no loss term {sorted(unknown)[0]!r}; it has {', '.join(self.names)}"
            )

    @classmethod
    def from_recipe(cls, recipe: Recipe, model: nn.Module) -> PictureObjective:
        """The objective of ``recipe`` for ``model``, which may be a moving average of the trained network."""
        if not isinstance(model, InsPose | InsPoseReleased):
            raise EngineError(f"network {recipe.network!r}: {type(model).__name__} has no loss for whole pictures")
        if recipe.loss != "heatmap":
            raise EngineError(
                f"network {recipe.network!r}: loss {recipe.loss!r} is for networks of crops; leave it out, InsPose has "
                "the losses of its paper"
            )
        return cls(recipe.network, model, dict(recipe.terms))

    @property
    def names(self) -> tuple[str, ...]:
        """The terms in training mode."""
        model = self.model
        if isinstance(model, InsPoseReleased):
            return RELEASED_TERMS
        optional = {"disk_offset": model.disk_offset, "heatmap": model.auxiliary, "box": model.box_head}
        return ("classification", "keypoint", *(name for name, branch in optional.items() if branch is not None))

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of every term in the total."""
        return {name: self._weights.get(name, 1.0) for name in self.names}

    def forward(self, pictures: Tensor, people: Sequence[People]) -> Terms:
        predictions: Predictions = self.model(pictures)
        with torch.autocast(pictures.device.type, enabled=False):
            terms = self._terms(_to_float32(predictions), people)
            weights = self.term_weights
            terms["total"] = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return terms

    def find(self, pictures: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Instances]:
        """The people in each of ``pictures`` (B, 3, H, W), whose ``sizes`` without padding are (width, height) px."""
        training = self.training
        self.eval()
        with torch.inference_mode():
            predictions = _to_float32(self.model(pictures))
            found = [self._decode(predictions, size, index) for index, size in enumerate(sizes)]
        self.train(training)
        return found

    def _decode(self, predictions: Predictions, size: tuple[int, int], index: int) -> Instances:
        if isinstance(self.model, InsPoseReleased):
            return decode_released(predictions, (size[1], size[0]), index)
        return decode(predictions, index)

    def _terms(self, predictions: Predictions, people: Sequence[People]) -> Terms:
        model = self.model
        if isinstance(model, InsPoseReleased):
            return released_losses(predictions, [_around_keypoints(each, keep=True) for each in people])
        truth = people if model.box_head is not None else [_around_keypoints(each) for each in people]
        has_heatmap = model.training and model.auxiliary is not None
        return paper_losses(predictions, truth, disk=model.disk_offset is not None, heatmap=has_heatmap)


def _around_keypoints(people: People, *, keep: bool = False) -> People:
    """The same people in the rectangles of their labelled keypoints; with ``keep``, those without any in their boxes,
    as released."""
    boxes = pseudo_boxes(people.keypoints)
    if keep:
        labelled = (people.keypoints[..., 2] > 0).any(1, keepdim=True)
        boxes = torch.where(labelled, boxes, people.boxes)
    return People(people.keypoints, boxes, people.areas)


def _to_float32(predictions: Predictions) -> Predictions:
    """Predictions of a network under autocast, in float32."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(each) for each in value]
        return value.float() if isinstance(value, Tensor) else value

    return Predictions(**{each.name: convert(getattr(predictions, each.name)) for each in fields(predictions)})
