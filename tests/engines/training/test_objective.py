"""The training objective: every paper's loss, and cross-entropy of heatmaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.losses.mutual_information import fami_released_terms  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose, FAMIPoseReleased  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.fasrnet_released import FaSRnetReleased  # noqa: E402
from engines.models.hrnet import HRNet  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.training.batches import WindowSamples  # noqa: E402
from engines.training.gradients import measure_term_norms  # noqa: E402
from engines.training.objective import Objective, cross_entropy  # noqa: E402
from engines.training.recipe import MutualInformation  # noqa: E402
from tests.engines.training.test_trainer import MICRO, tracks  # noqa: E402


@pytest.mark.parametrize(
    ("model", "offsets", "terms"),
    [
        (FAMIPose(MICRO, (-1, 0, 1)), (-1, 0, 1), {"mutual_information": 0.1}),
        (TDMI(MICRO, (-1, 0, 1)), (-1, 0, 1), {"mutual_information": 1.0}),
        (FaSRnet(MICRO), (-1, 0, 1), {"feature_level": 0.4}),
        (FaSRnetReleased(MICRO), (-1, 0, 1), {"feature_level": 0.5}),
        (IMAPose(MICRO, 1, dilations=(1, 3)), (-1, 0, 1), {}),
    ],
    ids=["fami", "tdmi", "fasrnet", "fasrnet as released", "imapose"],
)
def test_every_network_trains_with_its_papers_loss(model: Any, offsets: Any, terms: Any) -> None:
    batch = WindowSamples(tracks(2), offsets).batch(np.arange(2), None, np.random.default_rng(0))
    objective = Objective("any", model, 2.0, "heatmap", terms)
    losses = objective(batch.crops, batch.joints)
    assert losses.keys() == {"heatmap", "total", *terms}
    losses["total"].backward()
    without_gradient = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # A head may leave the backbone's own heatmap layer unused.
    assert all(name.startswith("hrnet.final_layer") for name in without_gradient)


@pytest.mark.parametrize(("terms", "alpha"), [({}, 0.4), ({"feature_level": 0.9}, 0.9)], ids=["paper", "0.9"])
def test_the_two_levels_of_fasrnet_are_weighed_by_alpha(terms: Any, alpha: float) -> None:
    batch = WindowSamples(tracks(1), (-1, 0, 1)).batch(np.arange(1), None, np.random.default_rng(0))
    losses = Objective("any", FaSRnet(MICRO).eval(), 2.0, "heatmap", terms)(batch.crops, batch.joints)
    expected = (1 - alpha) * losses["heatmap"] + alpha * losses["feature_level"]
    torch.testing.assert_close(losses["total"], expected)


def test_the_released_fami_pose_trains_with_the_released_terms() -> None:
    torch.manual_seed(0)
    model = FAMIPoseReleased(MICRO)
    crops, joints = torch.randn(1, 5, 3, 384, 288), torch.full((1, 17, 3), 40.0)
    objective = Objective("any", model, 3.0, "heatmap", {"mutual_information": 0.5}, MutualInformation(alpha=0.1))
    model.eval()
    losses = objective(crops, joints)
    features = model.features(model.window_features(crops))
    t = fami_released_terms(features, model.hrnet.final_layer)
    released = -0.1 * t[0] + 0.1 * t[1] + t[2] - t[3] + t[4] - t[5]  # Alignment_V15
    torch.testing.assert_close(losses["mutual_information"], released, atol=1e-10, rtol=1e-4)
    torch.testing.assert_close(losses["total"], losses["heatmap"] + 0.5 * released)
    assert float(torch.stack(t).detach().abs().min()) > 1e-6


def test_the_information_counts_no_joint_without_annotation() -> None:
    torch.manual_seed(0)
    model = FAMIPose(MICRO, (-1, 0, 1)).eval()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    batch = WindowSamples(tracks(2), (-1, 0, 1)).batch(np.arange(2), None, np.random.default_rng(0))
    objective = Objective("any", model, 2.0, "heatmap", {"mutual_information": 0.1})
    joints = batch.joints.clone()
    joints[:, :3, 2] = 0
    before = objective(batch.crops, joints)["mutual_information"].detach()
    with torch.no_grad():
        model.detect[-1].bias[:3] += 1
        model.detect[-1].weight[:3] *= 9
    torch.testing.assert_close(objective(batch.crops, joints)["mutual_information"], before)
    assert not torch.allclose(objective(batch.crops, batch.joints)["mutual_information"], before)


@pytest.mark.parametrize("kind", [FAMIPose, TDMI])
def test_the_information_has_the_scale_of_the_heatmap_error_unless_it_is_as_stated(kind: Any) -> None:
    torch.manual_seed(0)
    model = kind(MICRO, (-1, 0, 1))
    batch = WindowSamples(tracks(4), (-1, 0, 1)).batch(np.arange(4), None, np.random.default_rng(0))
    learning = list(model.parameters())
    ratios = []
    for estimate in ("bounded", "stated"):
        information = MutualInformation(estimate=estimate)
        objective = Objective("any", model, 2.0, "heatmap", {"mutual_information": 1.0}, information)
        norms = measure_term_norms(objective, batch.inputs, learning)
        ratios.append(norms["mutual_information"] / norms["heatmap"])
    assert 0.001 < ratios[0] < 100  # before training, when the heatmaps' gradient is at its largest
    assert ratios[1] > 100


def test_an_unknown_loss_term_is_refused() -> None:
    with pytest.raises(EngineError) as caught:
        Objective("hrnet-any", HRNet(MICRO), 2.0, "heatmap", {"mutual_information": 1.0})
    assert str(caught.value) == (
        "network 'hrnet-any' has no loss term 'mutual_information'; it has only the loss of its heatmaps"
    )


def test_cross_entropy_is_lowest_for_maps_equal_to_the_target() -> None:
    target = torch.rand(2, 3, 4, 5)
    weights_ = torch.tensor([[1.0, 1, 0], [1, 0, 1]])
    best = cross_entropy(7 * target, target, weights_)
    assert best < cross_entropy(torch.ones_like(target), target, weights_)
    corrupted = 7 * target
    corrupted[0, 2] = 99 * torch.rand(4, 5)  # a joint of weight 0
    assert torch.equal(cross_entropy(corrupted, target, weights_), best)


def test_cross_entropy_of_a_softmax_and_its_gradient_equal_pytorchs() -> None:
    torch.manual_seed(0)
    logits = (5 * torch.randn(2, 3, 8, 6)).requires_grad_()
    target = torch.rand(2, 3, 8, 6)
    ours = cross_entropy(9 * logits.flatten(2).softmax(-1).unflatten(2, (8, 6)), target, torch.ones(2, 3))
    shares = (target.flatten(2) / target.flatten(2).sum(-1, keepdim=True)).flatten(0, 1)
    theirs = torch.nn.functional.cross_entropy(logits.flatten(2).flatten(0, 1), shares)
    torch.testing.assert_close(ours, theirs)
    (gradient,), (wanted,) = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(
    "model", [HRNet(MICRO), DCPose(replace(MICRO, sigma=2.0), channels=4)], ids=["plain", "within"]
)
def test_cross_entropy_is_refused_for_heatmaps_that_are_not_distributions(model: Any) -> None:
    with pytest.raises(EngineError) as caught:
        Objective("hrnet-any", model, 2.0, "cross-entropy", {})
    assert str(caught.value) == (
        "network 'hrnet-any': loss 'cross-entropy' needs heatmaps that are distributions; take loss 'heatmap', or an "
        "HRNet, FAMI-Pose, TDMI or IMAPose whose entry gives the HRNet a 'sigma', such as hrnet-small-128x96"
    )
