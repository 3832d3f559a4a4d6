"""Mutual information by self-distillation: what the papers' terms must do, and a case worked by hand."""

from __future__ import annotations

from math import log
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.losses.mutual_information import (  # noqa: E402
    fami_loss,
    fami_released_sum,
    feature_information,
    label_information,
    released_score,
    spatial,
    tdmi_loss,
    vanishing,
)

B, C, J, H, W = 2, 4, 3, 5, 6


def feature(seed: int, channels: int = C) -> Any:
    generator = torch.Generator().manual_seed(seed)
    # Small, so that softmax(x/0.05) does not put all on one cell.
    return 0.05 * torch.randn(B, channels, H, W, generator=generator)


@pytest.fixture
def detect() -> Any:
    torch.manual_seed(0)
    return torch.nn.Conv2d(C, J, 1).requires_grad_(False)


def kl(p: Any, q: Any) -> Any:
    """KL(p || q) of the distributions of two features, (B, C)."""
    p, q = spatial(p), spatial(q)
    return (p.exp() * (p - q)).sum(-1)


def test_information_falls_by_the_divergence_from_the_teacher() -> None:
    v, w = feature(0), feature(1)
    torch.testing.assert_close(
        feature_information(v, v, 0.05) - feature_information(v, w, 0.05), kl(v, w), atol=1e-5, rtol=1e-4
    )
    assert bool((feature_information(v, w, 0.05) < feature_information(v, v, 0.05)).all())


def test_a_label_equal_to_the_detected_heatmaps_has_maximal_information(detect: Any) -> None:
    v = feature(0)
    best = label_information(detect(v), v, detect)
    others = [label_information(detect(v), feature(seed), detect) for seed in range(1, 5)]
    assert all(bool((other < best).all()) for other in others)


def test_gradients_flow_into_the_student_only() -> None:
    teacher, student = feature(0).requires_grad_(), feature(1).requires_grad_()
    feature_information(teacher, student).sum().backward()
    assert teacher.grad is None
    assert float(student.grad.abs().sum()) > 0


def test_a_constant_added_to_a_channel_changes_nothing() -> None:
    v, w = feature(0), feature(1)
    torch.testing.assert_close(feature_information(v, w), feature_information(v + 3, w - 2), rtol=1e-4, atol=1e-5)


def test_the_information_of_two_cells_equals_the_hand_computed_value() -> None:
    # With temperature 1, cells (log 3, 0) are the distribution (3/4, 1/4); log 2 - CE.
    v, w = torch.tensor([log(3.0), 0.0]).reshape(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    assert float(feature_information(v, w, temperature=1.0)) == pytest.approx(0, abs=1e-7)  # w says nothing
    expected = log(2) + 0.75 * log(0.75) + 0.25 * log(0.25)
    assert float(feature_information(v, v, temperature=1.0)) == pytest.approx(expected)


def test_naming_the_cell_is_worth_the_logarithm_of_their_number() -> None:
    peak = torch.zeros(1, 1, H, W)
    peak[..., 2, 3] = 100.0
    assert float(feature_information(peak, peak)) == pytest.approx(log(H * W))


def test_a_joint_of_weight_0_costs_nothing(detect: Any) -> None:
    label = detect(feature(9)).detach()
    label[:, 0] = 0  # without annotation: an empty map
    weights = torch.tensor([[0.0, 1, 1]] * B)
    certain = feature(1)
    known = label_information(label, certain, detect, weights)
    unweighted = label_information(label, certain, detect)
    other = label.clone()
    other[:, 0] = torch.rand(B, H, W)
    torch.testing.assert_close(label_information(other, certain, detect, weights), known)
    assert not torch.allclose(unweighted, known)
    assert torch.equal(label_information(label, certain, detect, torch.zeros(B, J)), torch.zeros(B))


def test_nothing_vanishes_when_the_enhanced_feature_says_as_much_about_the_source(detect: Any) -> None:
    source = 1e4 * feature(1)
    label = detect(source)
    assert float(vanishing(label, source, source, detect)) < 1e-3
    assert float(vanishing(label, source, -source, detect)) > 1
    ignorant = torch.zeros_like(source)  # it knows nothing of the label, so nothing can be lost
    assert float(vanishing(label, ignorant, -source, detect)) < 1e-3
    source = feature(1)
    stated = vanishing(label, source, source, detect, bounded=False)
    torch.testing.assert_close(
        stated, label_information(label, source, detect).mean() - feature_information(source, source, 0.05).mean()
    )


def test_the_vanishing_terms_gradient_reaches_the_enhanced_feature_only(detect: Any) -> None:
    detect.requires_grad_()
    source, enhanced = (100 * feature(1)).requires_grad_(), (100 * feature(2)).requires_grad_()
    vanishing(detect(source).detach(), source, enhanced, detect).backward()
    assert float(enhanced.grad.abs().sum()) > 0
    # With gradients here, the term could be minimised by making the source or the detector uninformative.
    assert source.grad is None
    assert detect.weight.grad is None


@pytest.mark.parametrize("bounded", [True, False])
def test_famis_loss_is_the_sum_of_its_terms(detect: Any, bounded: bool) -> None:
    label, key, supports, enhanced = detect(feature(9)), feature(0), [feature(1), feature(2)], feature(3)
    mean_of_supports = (
        vanishing(label, supports[0], enhanced, detect, bounded=bounded)
        + vanishing(label, supports[1], enhanced, detect, bounded=bounded)
    ) / 2
    both = feature_information(key, enhanced, 1.0 if bounded else 0.05)
    gained = label_information(label, enhanced, detect).mean() - (both.clamp(min=0) if bounded else both).mean()
    expected = vanishing(label, key, enhanced, detect, bounded=bounded) + mean_of_supports - 0.5 * gained
    torch.testing.assert_close(fami_loss(label, key, supports, enhanced, detect, alpha=0.5, bounded=bounded), expected)


def test_minimising_famis_loss_raises_the_label_information_of_the_enhanced_feature(detect: Any) -> None:
    label, key, supports = detect(feature(9)).detach(), feature(0).detach(), [feature(1).detach()]
    enhanced = feature(3).requires_grad_()
    optimizer = torch.optim.SGD([enhanced], lr=1e-3)
    before = label_information(label, enhanced, detect).mean().item()
    for _ in range(50):
        optimizer.zero_grad()
        fami_loss(label, key, supports, enhanced, detect).backward()
        optimizer.step()
    assert label_information(label, enhanced, detect).mean().item() > before


NAMES = ("motion", "useful", "noisy", "visual", "enhanced")


def test_tdmis_loss_pulls_useful_motion_towards_the_whole_and_away_from_noise(detect: Any) -> None:
    features = {name: 100 * feature(seed).detach() for seed, name in enumerate(NAMES)}
    label = detect(feature(9)).detach()
    alike = float(tdmi_loss(label, {**features, "useful": features["motion"]}, detect))
    noisy = float(tdmi_loss(label, {**features, "useful": features["noisy"]}, detect))
    assert alike < noisy


def equation_13(label: Any, f: dict[str, Any], detect: Any, temperature: float = 1.0) -> Any:
    """The paper's Eq. 13 with VSD, in other words than ours: sums of expectations over the cells, float64."""

    def p(x: Any, divisor: float) -> Any:
        return torch.softmax(x.flatten(2) / divisor, -1)

    def expected(teacher: Any, student: Any, divisor: float) -> Any:
        return log(H * W) + torch.einsum("bcn,bcn->bc", p(teacher, divisor), p(student, divisor).log())

    fixed = {name: value.detach() for name, value in f.items()}
    alike = [expected(fixed[a], f[b], temperature).clamp(min=0) for a, b in (("noisy", "useful"), ("useful", "noisy"))]
    total = (alike[0] + alike[1]).mean() / 2 - expected(f["motion"], f["useful"], temperature).mean()
    for name in ("useful", "visual"):
        known = expected(label, detect(fixed[name]), 0.05).mean(1).clamp(min=0)
        lost = (known[:, None] - expected(fixed[name], f["enhanced"], temperature).clamp(min=0)).clamp(min=0)
        total = total + (lost * known[:, None] / log(H * W)).mean()
    return total


def test_tdmis_gradients_are_those_of_its_equations(detect: Any) -> None:
    # As in the network, M_u and M_n are M times weights: M is reached through them and as an argument of I(M; M_u).
    generator = torch.Generator().manual_seed(5)
    detect = detect.double()
    sources = {name: 40 * feature(seed).double() for seed, name in enumerate(NAMES)}
    sources["enhanced"] = 0.6 * sources["visual"] + 0.4 * sources["enhanced"]  # it has lost a part
    label = detect(sources["visual"]).detach()
    gradients = []
    for loss in (tdmi_loss, equation_13):
        generator.manual_seed(5)
        leaves = {name: value.clone().requires_grad_() for name, value in sources.items()}
        weights = [torch.rand(B, C, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
        m = leaves["motion"]
        value = loss(label, {**leaves, "useful": weights[0] * m, "noisy": weights[1] * m}, detect)
        gradients.append(torch.autograd.grad(value, [m, leaves["enhanced"]]))
    for ours, theirs in zip(*gradients, strict=True):
        assert float(theirs.abs().max()) > 1e-4
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("size", [1.0, 100.0, 10_000.0])
def test_no_feature_brings_the_losses_below_the_logarithm_of_the_cells(detect: Any, size: float) -> None:
    features = {name: size * feature(seed) for seed, name in enumerate(NAMES)}
    label, lowest = detect(feature(9)), -log(H * W) - 1e-5
    assert float(tdmi_loss(label, features, detect)) >= lowest
    key, supports, enhanced = features["visual"], [features["noisy"]], features["enhanced"]
    assert float(fami_loss(label, key, supports, enhanced, detect)) >= lowest
    # As stated, unrelated features make the loss as low as they are large.
    opposite = {**features, "motion": -features["noisy"], "useful": -features["noisy"]}
    if size > 1:
        assert float(tdmi_loss(label, {**opposite, "enhanced": -features["noisy"]}, detect, bounded=False)) < lowest


def test_the_released_score_equals_its_formula() -> None:
    teacher, student = feature(0), feature(1)
    p, q = spatial(student).exp(), spatial(teacher).exp()
    torch.testing.assert_close(released_score(teacher, student), (p * (p.log() - q)).mean())


def test_the_released_sum_weighs_the_six_terms_as_its_code_does() -> None:
    terms = [torch.tensor(float(10**power)) for power in range(6)]
    assert float(fami_released_sum(terms)) == pytest.approx(-0.1 * 1 + 0.1 * 10 + 100 - 1e3 + 1e4 - 1e5)
    assert float(fami_released_sum(terms, alpha=2.0)) == pytest.approx(-2 * 1 + 2 * 10 + 100 - 1e3 + 1e4 - 1e5)
