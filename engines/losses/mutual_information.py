"""Mutual information between features, estimated by Variational Self-Distillation (VSD, Tian et al., CVPR 2021).

Two tensors are compared as distributions over the n cells of each channel, p = softmax(x/τ), so that only the position
of their activations counts. For any decoder q the conditional entropy is at most the cross-entropy, and over n cells
the entropy is at most log n (Barber and Agakov, NIPS 2003), so a position has

    I(y; v)  =  H(y) - H(y|v)  ≈  log n - E_y[-log q(y|v)]       :func:`label_information`
    I(v; w)  =  H(v) - H(v|w)  ≈  log n - E_p(v)[-log p(w)]      :func:`feature_information`

with q(y|v) the softmax of the detection layer's heatmaps of v, and in the second VSD's match of predictions. These are
nats of information: 0 if the second says no more than "anywhere", log n if it names the cell. FAMI-Pose, Eq. 10, and
TDMI, Eq. 13, are sums of these; each is written out below as the paper has it, and is to be *minimised*.

They appear there with both signs, and the estimate has no lower bound. Minimised as stated, TDMI's term falls without
end and leaves 58 % of the heatmaps' error, where the heatmap loss alone leaves 1 %
(``benchmarks/results/learning.md``). Information, also conditional information, is never negative: ``bounded``, the
default, clips what is minimised at 0, where its gradient ends. ``bounded=False`` is the papers' form.

The released code of FAMI-Pose computes something else, a divergence given probabilities where logarithms are expected;
:func:`fami_released_terms` is that arithmetic, for parity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

TEMPERATURE = 0.05
"""τ of heatmaps, whose peaks are 1: the released FAMI-Pose's; the papers do not state one."""

FEATURE_TEMPERATURE = 1.0
"""τ of features. They leave batch normalisation with a scale of 1; at 0.05 a softmax puts all on one cell, and the
divergence of two of them is hundreds of nats. The form that the papers state keeps the released one."""

Detect = Callable[[Tensor], Tensor]


def spatial(x: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """log softmax over the cells of each channel: (B, C, h, w) -> (B, C, h·w), at least float32."""
    # Dividing by τ multiplies by twenty, and a bfloat16 near 100 is rounded to a half.
    single = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.log_softmax(single.flatten(2) / temperature, dim=-1)


def information(p: Tensor, q: Tensor) -> Tensor:
    """log n + Σ p log q, nats (B, C): what ``q`` says about a position drawn from ``p``; both log p, (B, C, n)."""
    return math.log(p.shape[-1]) + (p.exp() * q).sum(-1)


def label_information(
    label: Tensor, feature: Tensor, detect: Detect, weights: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """I(y; v) of each sample, nats (B,): the mean over its joints, weighted by ``weights`` (B, J).

    ``label`` heatmaps (B, J, h, w), ``feature`` (B, C, h, w), ``detect`` the layer that makes heatmaps of features. A
    joint without annotation has an empty label, which is the uniform distribution: without its weight of 0, every
    certain prediction would cost more than log n.
    """
    joints = information(spatial(label, temperature), spatial(detect(feature), temperature))
    if weights is None:
        return joints.mean(1)
    return (joints * weights).sum(1) / weights.sum(1).clamp(min=1)


def feature_information(v: Tensor, w: Tensor, temperature: float = FEATURE_TEMPERATURE) -> Tensor:
    """I(v; w) of each channel, nats (B, C); both (B, C, h, w). ``v`` is the teacher: no gradient flows into it."""
    return information(spatial(v.detach(), temperature), spatial(w, temperature))


def shared(v: Tensor, w: Tensor, *, bounded: bool) -> Tensor:
    """:func:`feature_information` at the temperature of the ``bounded`` or the stated form."""
    return feature_information(v, w, FEATURE_TEMPERATURE if bounded else TEMPERATURE)


def joint_information(v: Tensor, w: Tensor, *, bounded: bool) -> Tensor:
    """:func:`shared` with a gradient into both."""
    temperature = FEATURE_TEMPERATURE if bounded else TEMPERATURE
    return information(spatial(v, temperature), spatial(w, temperature))


def at_least_0(value: Tensor, *, bounded: bool) -> Tensor:
    """``value`` where it is positive, if ``bounded``."""
    return value.clamp(min=0) if bounded else value


def vanishing(
    label: Tensor,
    source: Tensor,
    enhanced: Tensor,
    detect: Detect,
    weights: Tensor | None = None,
    *,
    bounded: bool = True,
) -> Tensor:
    """I(y; v | z̃) ≈ I(y; v) - I(v; z̃), nats: the information about the label that ``source`` has and ``enhanced`` lost
    (FAMI Eq. 9, TDMI Eqs. 11 and 12).

    I(y; v) carries no gradient, as in the released code, whose teachers are detached. Otherwise the term could be
    minimised by making the source uninformative, which would degrade the detection layer.

    A source that knows nothing of the label has nothing to lose, yet I(v; z̃) asks the enhanced feature to repeat it:
    TDMI-ST then kept 3.6 times the error of the heatmap loss alone, and 1.6 times with a weight. So if ``bounded``,
    the loss is weighted by the share that the source knows, I(y; v) / log n.
    """
    with torch.no_grad():
        known = at_least_0(label_information(label, source, detect, weights), bounded=bounded)[:, None]
    lost = at_least_0(known - shared(source, enhanced, bounded=bounded), bounded=bounded)
    return (lost * known / math.log(label[0, 0].numel()) if bounded else lost).mean()


def complementary(
    label: Tensor,
    key: Tensor,
    enhanced: Tensor,
    detect: Detect,
    weights: Tensor | None = None,
    *,
    bounded: bool = True,
) -> Tensor:
    """FAMI Eq. 7, nats: I(y; z̃ | z_t) ≈ I(y; z̃) - I(z_t; z̃), to be maximised."""
    gained = label_information(label, enhanced, detect, weights).mean()
    return gained - at_least_0(shared(key, enhanced, bounded=bounded), bounded=bounded).mean()


def fami_loss(
    label: Tensor,
    key: Tensor,
    supports: Sequence[Tensor],
    enhanced: Tensor,
    detect: Detect,
    alpha: float = 1.0,
    weights: Tensor | None = None,
    *,
    bounded: bool = True,
) -> Tensor:
    """FAMI-Pose, Eq. 10, nats: vanishing w.r.t. z_t, plus w.r.t. z_t+δ, minus α times the complementary information.

    Two things are not as written. The paper has one δ; of several, the mean is taken, so that the terms keep their
    ratio in every window of Table 7. ``supports`` are the aligned z̃_t+δ, in the place of z_t+δ: positions are compared,
    so with unaligned features the term would ask z̃ to keep them where they were, against the alignment.
    """
    lost = vanishing(label, key, enhanced, detect, weights, bounded=bounded)
    for support in supports:
        lost = lost + vanishing(label, support, enhanced, detect, weights, bounded=bounded) / len(supports)
    return lost - alpha * complementary(label, key, enhanced, detect, weights, bounded=bounded)


def tdmi_loss(
    label: Tensor,
    features: Mapping[str, Tensor],
    detect: Detect,
    weights: Tensor | None = None,
    *,
    bounded: bool = True,
) -> Tensor:
    """TDMI, Eq. 13, nats: I(M_u; M_n) - I(M; M_u) + vanishing w.r.t. M_u + vanishing w.r.t. F_t.

    ``features`` as :meth:`engines.models.tdmi.TDMI.features` names them. I(M_u; M_n) is the mean of both directions, so
    that both parts receive a gradient: the teacher of each direction is detached. I(M; M_u) has no teacher. It is there
    so that the encoder of M takes in more of the motion (Eq. 9), so M receives the gradient of both arguments.
    """
    useful, noisy, enhanced = features["useful"], features["noisy"], features["enhanced"]
    both = torch.stack((shared(noisy, useful, bounded=bounded), shared(useful, noisy, bounded=bounded)))
    common = at_least_0(both, bounded=bounded).mean()
    relevant = joint_information(features["motion"], useful, bounded=bounded).mean()
    lost = [
        vanishing(label, source, enhanced, detect, weights, bounded=bounded) for source in (useful, features["visual"])
    ]
    return common - relevant + lost[0] + lost[1]


def released_score(teacher: Tensor, student: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """mean of p·(log p - q) with p, q probabilities: what the released code computes and calls KL."""
    q, log_p = spatial(teacher.detach(), temperature).exp(), spatial(student, temperature)
    return (log_p.exp() * (log_p - q)).mean()


def fami_released_terms(features: Mapping[str, Tensor], detect: Detect) -> list[Tensor]:
    """The six terms of the released training forward, in its order; the 'label' is its own prediction.

    ``features`` as :meth:`engines.models.fami.FAMIPoseReleased.features` names them. They are means over samples,
    channels *and cells*, and weighted by 0.5 in the released loss.
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


def fami_released_sum(terms: Sequence[Tensor], alpha: float = 0.1) -> Tensor:
    """The sum of the six terms that the released code weights by 0.5 and adds to the heatmap loss; its α is 0.1."""
    t1, t2, t3, t4, t5, t6 = terms
    return -alpha * t1 + alpha * t2 + t3 - t4 + t5 - t6
