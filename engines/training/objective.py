"""The loss of each network's paper, as one module whose ``forward`` computes a training step.

It is a module, so that DistributedDataParallel can wrap everything that calls the network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.layers.softmax_heatmaps import SoftmaxHeatmaps
from engines.losses.heatmap import gaussian_heatmaps, heatmap_mse, visible_l2
from engines.losses.mutual_information import (
    fami_loss,
    fami_released_sum,
    fami_released_terms,
    tdmi_loss,
)
from engines.models.fami import FAMIPose, FAMIPoseReleased
from engines.models.fasrnet import FaSRnet
from engines.models.fasrnet_released import FaSRnetReleased
from engines.models.hrnet import HRNet
from engines.models.imapose import IMAPose
from engines.models.tdmi import TDMI
from engines.models.temporal import TemporalModel
from engines.training.recipe import MutualInformation, Recipe

Terms = dict[str, Tensor]
MUTUAL_INFORMATION = "mutual_information"
FEATURE_LEVEL = "feature_level"
"""FaSRnet's error after its feature stage, weighted α; the one after its semantics stage is weighted 1 - α."""
_ALPHA = 0.4
_MIN_PROBABILITY = 1e-30


class Objective(nn.Module):
    """``crops (B, T, 3, h, w), joints (B, J, 3) -> {"total": …, "heatmap": …, …}``, scalars.

    Under autocast the network computes in half precision and every term in float32.
    """

    def __init__(
        self,
        network: str,
        model: nn.Module,
        sigma: float,
        loss: str,
        terms: dict[str, float],
        information: MutualInformation | None = None,
    ) -> None:
        super().__init__()
        self.model, self.sigma, self.loss, self.terms = model, sigma, loss, terms
        self.information = information or MutualInformation()
        available = paper_terms(model).keys()
        if unknown := terms.keys() - available:
            raise EngineError(
                f"network {network!r} has no loss term {sorted(unknown)[0]!r}; it has "
                f"{', '.join(sorted(available)) or 'only the loss of its heatmaps'}"
            )
        if loss == "cross-entropy" and not outputs_distributions(model):
            raise EngineError(
                f"network {network!r}: loss 'cross-entropy' needs heatmaps that are distributions; take loss "
                "'heatmap', or an HRNet, FAMI-Pose, TDMI or IMAPose whose entry gives the HRNet a 'sigma', such as "
                "hrnet-small-128x96"
            )

    @classmethod
    def from_recipe(cls, recipe: Recipe, model: nn.Module) -> Objective:
        """The objective of ``recipe`` for ``model``, which may be a moving average of the trained network."""
        return cls(recipe.network, model, recipe.sigma, recipe.loss, dict(recipe.terms), recipe.information)

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of every term in the total; FaSRnet's two levels share 1 (Eq. 19)."""
        if FEATURE_LEVEL not in paper_terms(self.model):
            return {"heatmap": 1.0, **self.terms}
        alpha = self.terms.get(FEATURE_LEVEL, _ALPHA)
        return {"heatmap": 1 - alpha, FEATURE_LEVEL: alpha}

    def forward(self, crops: Tensor, joints: Tensor) -> Terms:
        terms = self._terms(crops, joints)
        weights = self.term_weights
        terms["total"] = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return terms

    def heatmaps(self, crops: Tensor) -> Tensor:
        """The network's heatmaps: (B, J, h/4, w/4)."""
        heatmaps: Tensor = self.model(crops if isinstance(self.model, TemporalModel) else crops[:, 0])
        return heatmaps

    def _terms(self, crops: Tensor, joints: Tensor) -> Terms:
        model = self.model
        if isinstance(model, FAMIPose | FAMIPoseReleased | TDMI) and MUTUAL_INFORMATION in self.terms:
            features = model.features(model.window_features(crops))
            target, weights = self._target(joints, features["heatmaps"])
            return {
                "heatmap": self._heatmap_loss(features["heatmaps"], target, weights),
                MUTUAL_INFORMATION: self._mutual_information(model, features, target, weights),
            }
        if isinstance(model, FaSRnet | FaSRnetReleased):
            refined, final = model.refine(model.window_features(crops))
            target, weights = self._target(joints, final)
            return {
                "heatmap": self._heatmap_loss(final, target, weights),
                FEATURE_LEVEL: self._heatmap_loss(refined, target, weights),
            }
        heatmaps = self.heatmaps(crops)
        return {"heatmap": self._heatmap_loss(heatmaps, *self._target(joints, heatmaps))}

    def _mutual_information(
        self, model: FAMIPose | FAMIPoseReleased | TDMI, features: Terms, target: Tensor, weights: Tensor
    ) -> Tensor:
        alpha, bounded = self.information.alpha, self.information.estimate == "bounded"
        if isinstance(model, FAMIPoseReleased):
            return fami_released_sum(fami_released_terms(features, model.hrnet.final_layer), alpha)
        if isinstance(model, TDMI):
            nats = tdmi_loss(target, features, model.detect, weights, bounded=bounded)
        else:
            key, supports, enhanced = features["key"], list(features["supports"]), features["enhanced"]
            nats = fami_loss(target, key, supports, enhanced, model.detect, alpha, weights, bounded=bounded)
        return nats * nats_scale(self.loss, target[0, 0].numel()) if bounded else nats

    def _heatmap_loss(self, heatmaps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        heatmaps = heatmaps.float()
        if self.loss == "cross-entropy":
            return cross_entropy(heatmaps, target, weights)
        if isinstance(self.model, IMAPose):
            return visible_l2(heatmaps, target, weights)
        return heatmap_mse(heatmaps, target, weights)

    def _target(self, joints: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Target heatmaps (B, J, h, w) and weights (B, J): hidden joints count, those outside the picture do not."""
        h, w = like.shape[2:]
        b, j = joints.shape[:2]
        annotated = (joints[..., 2] > 0).float()
        maps, weights = gaussian_heatmaps(
            joints[..., :2].reshape(b * j, 2).cpu(),
            annotated.reshape(b * j).cpu(),
            (w, h),
            self.sigma,
            unbiased=self.loss == "cross-entropy",
        )
        return maps.reshape(b, j, h, w).to(like.device), weights.reshape(b, j).to(like.device)


def paper_terms(model: nn.Module) -> dict[str, float]:
    """The terms beside the heatmap loss that ``model`` can be trained with, and the weights its paper gives them.

    FAMI-Pose's β (Sec. 4.1), 0.5 in the released code; TDMI's α (Sec. 4.1); FaSRnet's α (Sec. 4.1).
    """
    match model:
        case FAMIPose():
            return {MUTUAL_INFORMATION: 0.1}
        case FAMIPoseReleased():
            return {MUTUAL_INFORMATION: 0.5}
        case TDMI():
            return {MUTUAL_INFORMATION: 1.0}
        case FaSRnet() | FaSRnetReleased():
            return {FEATURE_LEVEL: _ALPHA}
    return {}


def nats_scale(loss: str, cells: int) -> float:
    """What brings the bounded information to the scale of the heatmap ``loss``, on maps of ``cells``.

    A squared error is a mean over the cells, in which a peak counts 1; naming a cell, log n nats, counts 1 there, too.
    A cross-entropy is in nats itself.
    """
    return 1 / (cells * math.log(cells)) if loss == "heatmap" else 1.0


def outputs_distributions(model: nn.Module) -> bool:
    """Whether the network's last layer is a softmax; in other networks such a layer may be followed by others."""
    if isinstance(model, IMAPose):
        return model.mdd.sigma is not None
    can_end_in_softmax = isinstance(model, HRNet | FAMIPose | TDMI)
    return can_end_in_softmax and any(isinstance(layer, SoftmaxHeatmaps) for layer in model.modules())


def cross_entropy(heatmaps: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of heatmaps (B, J, h, w) that are distributions, and Gaussians, both normalised to a sum of 1.

    The mean over joints is weighted by ``weights`` (B, J).
    """
    p, q = (maps.flatten(2) / maps.flatten(2).sum(-1, keepdim=True).clamp(min=1e-6) for maps in (target, heatmaps))
    # The minimum keeps log away from 0; it is below any probability that a softmax gives, so it cuts off no gradient.
    entropy = -(p * q.clamp(min=_MIN_PROBABILITY).log()).sum(-1)
    return (entropy * weights).sum() / weights.sum().clamp(min=1)
