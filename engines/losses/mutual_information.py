"""Mutual information between features, estimated by Variational Self-Distillation (VSD, Tian et al., CVPR 2021).

Two tensors are compared as distributions over the cells of each channel, p = softmax(x/τ), so that only the position of
their activations counts. The papers need two estimates.

*A label y and a feature v.* The chain rule gives I(y; v) = H(y) - H(y|v), and for any decoder q the conditional entropy
is at most the cross-entropy: H(y|v) <= E[-log q(y|v)]. With the network's own detection layer as q and H(y) constant,

    I(y; v)  ≈  const - KL( y ‖ q(y|v) )                                         :func:`label_information`

*Two features v, w.* The same bound with w's own distribution as the estimate of v's: VSD's predictive match,

    I(v; w)  ≈  const - KL( p(v) ‖ p(w) )                                        :func:`feature_information`

Constants drop out of gradients, so both functions return the negative divergence: 0 when the distributions are equal.
FAMI-Pose, Eq. 10, and TDMI, Eq. 13, are sums of these; each is written out below as the paper has it, and is to be
*minimised*.

The released code of FAMI-Pose computes something else, a divergence given probabilities where logarithms are expected;
:func:`fami_released_terms` is that arithmetic, for parity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

TEMPERATURE = 0.05
"""τ of the released FAMI-Pose; the papers do not state one."""

Detect = Callable[[Tensor], Tensor]


def spatial(x: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """log softmax over the cells of each channel: (B, C, h, w) -> (B, C, h·w), at least float32."""
    # Dividing by τ multiplies by twenty, and a bfloat16 near 100 is rounded to a half.
    single = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.log_softmax(single.flatten(2) / temperature, dim=-1)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) from log-distributions (B, C, n), mean over batch and channels."""
    return (p.exp() * (p - q)).sum(-1).mean()


def label_information(label: Tensor, feature: Tensor, detect: Detect, temperature: float = TEMPERATURE) -> Tensor:
    """I(y; v) up to a constant, at most 0. ``label`` heatmaps (B, J, h, w), ``feature`` (B, C, h, w), ``detect`` the
    layer that makes heatmaps of features."""
    return -divergence(spatial(label, temperature), spatial(detect(feature), temperature))


def feature_information(v: Tensor, w: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """I(v; w) up to a constant, at most 0; both (B, C, h, w). ``v`` is the teacher: no gradient flows into it."""
    return -divergence(spatial(v.detach(), temperature), spatial(w, temperature))


def vanishing(label: Tensor, source: Tensor, enhanced: Tensor, detect: Detect) -> Tensor:
    """I(y; v | z̃) ≈ I(y; v) - I(v; z̃): the information about the label that ``source`` has and ``enhanced`` lost
    (FAMI Eq. 9, TDMI Eqs. 11 and 12).

    I(y; v) carries no gradient, as in the released code, whose teachers are detached. Otherwise the term could be
    minimised by making the source uninformative, which would degrade the detection layer.
    """
    with torch.no_grad():
        known = label_information(label, source, detect)
    return known - feature_information(source, enhanced)


def fami_loss(
    label: Tensor, key: Tensor, supports: Sequence[Tensor], enhanced: Tensor, detect: Detect, alpha: float = 1.0
) -> Tensor:
    """FAMI-Pose, Eq. 10: vanishing w.r.t. z_t, plus w.r.t. every z_t+δ, minus α times the complementary information.

    The complementary term is Eq. 7: I(y; z̃ | z_t) ≈ I(y; z̃) - I(z_t; z̃).
    """
    complementary = label_information(label, enhanced, detect) - feature_information(key, enhanced)
    lost = vanishing(label, key, enhanced, detect)
    for support in supports:
        lost = lost + vanishing(label, support, enhanced, detect) / len(supports)
    return lost - alpha * complementary


def tdmi_loss(label: Tensor, features: Mapping[str, Tensor], detect: Detect) -> Tensor:
    """TDMI, Eq. 13: I(M_u; M_n) - I(M; M_u) + vanishing w.r.t. M_u + vanishing w.r.t. F_t.

    ``features`` as :meth:`engines.models.tdmi.TDMI.features` names them. I(M_u; M_n) is the mean of both directions, so
    that both parts receive a gradient: the teacher of each direction is detached.
    """
    useful, noisy, enhanced = features["useful"], features["noisy"], features["enhanced"]
    shared = (feature_information(noisy, useful) + feature_information(useful, noisy)) / 2
    relevant = feature_information(features["motion"], useful)
    lost = vanishing(label, useful, enhanced, detect) + vanishing(label, features["visual"], enhanced, detect)
    return shared - relevant + lost


def released_score(teacher: Tensor, student: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """mean of p·(log p - q) with p, q probabilities: what the released code computes and calls KL."""
    q, log_p = spatial(teacher.detach(), temperature).exp(), spatial(student, temperature)
    return (log_p.exp() * (log_p - q)).mean()


def fami_released_terms(features: Mapping[str, Tensor], detect: Detect) -> list[Tensor]:
    """The six terms of the released training forward, in its order; the 'label' is its own prediction.

    ``features`` as :meth:`engines.models.fami.FAMIPoseReleased.features` names them. The released total is
    0.5·(-0.1·t1 + 0.1·t2 + t3 - t4 + t5 - t6).
    """
    key, supports, enhanced = features["key"], features["supports"], features["enhanced"]
    predicted = features["heatmaps"]
    relevance = released_score(key, enhanced)
    return [
        released_score(detect(enhanced), predicted),
        relevance,
        released_score(detect(supports), predicted),
        released_score(supports, enhanced),
        released_score(detect(key), predicted),
        relevance,
    ]


def fami_released_total(terms: Sequence[Tensor]) -> Tensor:
    """The weighted sum that the released code adds to the heatmap loss."""
    t1, t2, t3, t4, t5, t6 = terms
    return 0.5 * (-0.1 * t1 + 0.1 * t2 + t3 - t4 + t5 - t6)
