"""Mutual information by self-distillation: what the papers' terms must do, and a case worked by hand."""

from __future__ import annotations

from math import log
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.losses.mutual_information import (  # noqa: E402
    divergence,
    fami_loss,
    fami_released_total,
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


def test_the_information_of_a_feature_with_itself_is_maximal() -> None:
    v = feature(0)
    assert float(feature_information(v, v)) == pytest.approx(0, abs=1e-6)


def test_the_information_of_another_feature_is_lower() -> None:
    assert float(feature_information(feature(0), feature(1))) < -0.1


def test_a_label_equal_to_the_detected_heatmaps_has_maximal_information(detect: Any) -> None:
    v = feature(0)
    assert float(label_information(detect(v), v, detect)) == pytest.approx(0, abs=1e-6)


def test_gradients_flow_into_the_student_only() -> None:
    teacher, student = feature(0).requires_grad_(), feature(1).requires_grad_()
    feature_information(teacher, student).backward()
    assert teacher.grad is None
    assert float(student.grad.abs().sum()) > 0


def test_a_constant_added_to_a_channel_changes_nothing() -> None:
    v, w = feature(0), feature(1)
    torch.testing.assert_close(feature_information(v, w), feature_information(v + 3, w - 2), rtol=1e-4, atol=1e-5)


def test_the_divergence_of_two_coins_equals_the_hand_computed_value() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2).
    p, q = torch.tensor([[[0.75, 0.25]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()
    assert float(divergence(p, q)) == pytest.approx(0.75 * log(1.5) + 0.25 * log(0.5))


def test_the_information_of_two_cells_equals_the_hand_computed_value() -> None:
    # With temperature 1, cells (log 3, 0) are the distribution (3/4, 1/4), and (0, 0) is (1/2, 1/2).
    v, w = torch.tensor([log(3.0), 0.0]).reshape(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    expected = -(0.75 * log(1.5) + 0.25 * log(0.5))
    assert float(feature_information(v, w, temperature=1.0)) == pytest.approx(expected)


def test_nothing_vanishes_when_the_enhanced_feature_is_the_source(detect: Any) -> None:
    label, source = detect(feature(0)).detach(), feature(1)
    torch.testing.assert_close(
        vanishing(label, source, source, detect), label_information(label, source, detect), atol=1e-6, rtol=1e-5
    )


def test_the_vanishing_terms_gradient_reaches_the_enhanced_feature_only(detect: Any) -> None:
    detect.requires_grad_()
    source, enhanced = feature(1).requires_grad_(), feature(2).requires_grad_()
    vanishing(detect(feature(0)).detach(), source, enhanced, detect).backward()
    assert float(enhanced.grad.abs().sum()) > 0
    # With gradients here, the term could be minimised by making the source or the detector uninformative.
    assert source.grad is None
    assert detect.weight.grad is None


def test_famis_loss_is_the_sum_of_its_terms(detect: Any) -> None:
    label, key, supports, enhanced = detect(feature(9)), feature(0), [feature(1), feature(2)], feature(3)
    mean_of_supports = (
        vanishing(label, supports[0], enhanced, detect) + vanishing(label, supports[1], enhanced, detect)
    ) / 2
    complementary = label_information(label, enhanced, detect) - feature_information(key, enhanced)
    expected = vanishing(label, key, enhanced, detect) + mean_of_supports - 0.5 * complementary
    torch.testing.assert_close(fami_loss(label, key, supports, enhanced, detect, alpha=0.5), expected)


def test_minimising_famis_loss_raises_the_label_information_of_the_enhanced_feature(detect: Any) -> None:
    label, key, supports = detect(feature(9)).detach(), feature(0).detach(), [feature(1).detach()]
    enhanced = feature(3).requires_grad_()
    optimizer = torch.optim.SGD([enhanced], lr=1e-3)
    before = label_information(label, enhanced, detect).item()
    for _ in range(50):
        optimizer.zero_grad()
        fami_loss(label, key, supports, enhanced, detect).backward()
        optimizer.step()
    assert label_information(label, enhanced, detect).item() > before


def test_tdmis_loss_pulls_useful_motion_towards_the_whole_and_away_from_noise(detect: Any) -> None:
    names = ("motion", "useful", "noisy", "visual", "enhanced")
    features = {name: feature(seed).detach() for seed, name in enumerate(names)}
    label = detect(feature(9)).detach()
    alike = float(tdmi_loss(label, {**features, "useful": features["motion"]}, detect))
    noisy = float(tdmi_loss(label, {**features, "useful": features["noisy"]}, detect))
    assert alike < noisy


def test_the_released_score_equals_its_formula() -> None:
    teacher, student = feature(0), feature(1)
    p, q = spatial(student).exp(), spatial(teacher).exp()
    torch.testing.assert_close(released_score(teacher, student), (p * (p.log() - q)).mean())


def test_the_released_total_weighs_the_six_terms_as_its_code_does() -> None:
    terms = [torch.tensor(float(10**power)) for power in range(6)]
    assert float(fami_released_total(terms)) == pytest.approx(0.5 * (-0.1 * 1 + 0.1 * 10 + 100 - 1e3 + 1e4 - 1e5))
