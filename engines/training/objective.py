"""The loss of each network's paper, as one module whose ``forward`` computes a training step.

It is a module, so that DistributedDataParallel can wrap everything that calls the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.layers.softmax_heatmaps import SoftmaxHeatmaps
from engines.losses.heatmap import gaussian_heatmaps, heatmap_mse, visible_l2
from engines.losses.mutual_information import fami_loss, tdmi_loss
from engines.models.fami import FAMIPose
from engines.models.fasrnet import FaSRnet
from engines.models.fasrnet_released import FaSRnetReleased
from engines.models.hrnet import HRNet
from engines.models.imapose import IMAPose
from engines.models.tdmi import TDMI
from engines.models.temporal import TemporalModel
from engines.training.recipe import Recipe

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

    def __init__(self, network: str, model: nn.Module, sigma: float, loss: str, terms: dict[str, float]) -> None:
        super().__init__()
        self.model, self.sigma, self.loss, self.terms = model, sigma, loss, terms
        available = _available_terms(model)
        if unknown := terms.keys() - available:
            raise EngineError(
                f"network {network!r} has no loss term {sorted(unknown)[0]!r}; it has "
                f"{', '.join(sorted(available)) or 'only the loss of its heatmaps'}"
            )
        if loss == "cross-entropy" and not outputs_distributions(model):
            raise EngineError(
                f"network {network!r}: loss 'cross-entropy' needs heatmaps that are distributions; take loss "
                "'heatmap', or an HRNet, FAMI-Pose or TDMI whose entry gives the HRNet a 'sigma', such as "
                "hrnet-small-128x96"
            )

    @classmethod
    def from_recipe(cls, recipe: Recipe, model: nn.Module) -> Objective:
        """The objective of ``recipe`` for ``model``, which may be a moving average of the trained network."""
        return cls(recipe.network, model, recipe.sigma, recipe.loss, dict(recipe.terms))

    def forward(self, crops: Tensor, joints: Tensor) -> Terms:
        terms = self._terms(crops, joints)
        weights = {"heatmap": 1.0, **self.terms}
        if FEATURE_LEVEL in terms:  # Eq. 19
            alpha = self.terms.get(FEATURE_LEVEL, _ALPHA)
            weights |= {FEATURE_LEVEL: alpha, "heatmap": 1 - alpha}
        terms["total"] = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return terms

    def heatmaps(self, crops: Tensor) -> Tensor:
        """The network's heatmaps: (B, J, h/4, w/4)."""
        heatmaps: Tensor = self.model(crops if isinstance(self.model, TemporalModel) else crops[:, 0])
        return heatmaps

    def _terms(self, crops: Tensor, joints: Tensor) -> Terms:
        model = self.model
        if isinstance(model, FAMIPose | TDMI) and MUTUAL_INFORMATION in self.terms:
            return self._mutual_information(model, crops, joints)
        if isinstance(model, FaSRnet | FaSRnetReleased):
            refined, final = model.refine(model.window_features(crops))
            return {
                "heatmap": self._heatmap_loss(final, joints),
                FEATURE_LEVEL: self._heatmap_loss(refined, joints),
            }
        return {"heatmap": self._heatmap_loss(self.heatmaps(crops), joints)}

    def _mutual_information(self, model: FAMIPose | TDMI, crops: Tensor, joints: Tensor) -> Terms:
        window = model.window_features(crops)
        if isinstance(model, TDMI):
            features = model.features(window)
            target, _ = self._target(joints, features["heatmaps"])
            return {
                "heatmap": self._heatmap_loss(features["heatmaps"], joints),
                MUTUAL_INFORMATION: tdmi_loss(target, features, model.detect),
            }
        key, supports = model.align(window)
        enhanced = key + torch.stack(supports).sum(0)
        heatmaps = model.detect(enhanced)
        target, _ = self._target(joints, heatmaps)
        return {
            "heatmap": self._heatmap_loss(heatmaps, joints),
            MUTUAL_INFORMATION: fami_loss(target, key, supports, enhanced, model.detect),
        }

    def _heatmap_loss(self, heatmaps: Tensor, joints: Tensor) -> Tensor:
        heatmaps = heatmaps.float()
        target, weights = self._target(joints, heatmaps)
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


def _available_terms(model: nn.Module) -> set[str]:
    match model:
        case FAMIPose() | TDMI():
            return {MUTUAL_INFORMATION}
        case FaSRnet() | FaSRnetReleased():
            return {FEATURE_LEVEL}
    return set()


def outputs_distributions(model: nn.Module) -> bool:
    """Whether the network's last layer is a softmax; in other networks such a layer may be followed by others."""
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
