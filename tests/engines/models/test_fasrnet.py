"""FaSRnet: its equations, and the switches of its ablations."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.models.fasrnet import AttentionFusion, FaSRnet, FeatureAlignment, GuidedDeformConv, lrelu  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402

SMALL = HRNetConfig(width=8, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
B, C, H, W = 2, 6, 16, 12


def count(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_guided_convolution_with_full_offsets_reads_the_neighbouring_pixel() -> None:
    layer = GuidedDeformConv(C, dilation=5)
    torch.nn.init.dirac_(layer.deform.weight)
    torch.nn.init.zeros_(layer.deform.bias)
    torch.nn.init.zeros_(layer.conv_offset_mask.weight)
    torch.nn.init.zeros_(layer.conv_offset_mask.bias)
    with torch.no_grad():
        layer.conv_offset_mask.bias[1:18:2] = 1.0  # Δx of every kernel point
        layer.conv_offset_mask.bias[18:] = 100.0  # a modulation of 1
    x = torch.randn(B, C, H, W)
    torch.testing.assert_close(layer(x, x)[..., :-1], x[..., 1:])


def test_similarity_has_the_size_of_the_feature_and_weighs_every_value_of_it() -> None:
    fusion = AttentionFusion(C, auxiliaries=2)
    auxiliary, current = torch.randn(B, C, H, W), torch.randn(B, C, H, W)
    similarity = fusion.similarity(auxiliary, current)
    assert similarity.shape == auxiliary.shape
    expected = torch.sigmoid(fusion.embed_auxiliary(auxiliary) * fusion.embed_current(current))
    torch.testing.assert_close(similarity, expected)


def test_an_auxiliary_frame_that_attention_rejects_does_not_count() -> None:
    fusion = AttentionFusion(C, auxiliaries=1)
    with torch.no_grad():
        for embedding, bias in ((fusion.embed_auxiliary, 10.0), (fusion.embed_current, -10.0)):
            embedding.weight.zero_()
            embedding.bias.fill_(bias)  # S = sigmoid(-100)
    current = torch.randn(B, C, H, W)
    first, second = (fusion(current, [torch.randn(B, C, H, W)]) for _ in range(2))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("branches", [FeatureAlignment.DILATED, FeatureAlignment.PYRAMID], ids=["dilated", "pyramid"])
def test_only_the_auxiliary_feature_is_warped(branches: Any) -> None:
    align = FeatureAlignment(C, branches)
    nothing, current = torch.zeros(B, C, H, W), torch.randn(B, C, H, W)
    bias = align.last_deform.deform.bias
    assert bias is not None
    torch.testing.assert_close(align(nothing, current), lrelu(bias)[:, None, None].expand(B, C, H, W))


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ({"features": False}, ["align.", "fusion.", "final_layer."]),  # Table 7, w/o FR
        ({"alignment": None, "semantics": None}, ["align.", "semantics."]),
        ({"attention": False}, ["fusion.embed", "fusion.refine"]),  # Table 6, w/o Att
        ({"semantics": None}, ["semantics."]),  # Table 6, FDA
        ({"alignment": "pyramid", "semantics": None}, ["semantics."]),  # Table 6, PCDA
        ({"semantics": "multiple"}, []),  # Table 7, SMD
        ({"frames": (-1, 0)}, ["align.1"]),  # Table 8, w/o N
        ({"frames": (0, 1)}, ["align.1"]),  # Table 8, w/o P
    ],
    ids=["w/o FR", "baseline", "w/o Att", "FDA", "PCDA", "SMD", "w/o N", "w/o P"],
)
def test_a_switch_of_the_ablations_removes_its_modules(options: dict[str, Any], without: list[str]) -> None:
    network = FaSRnet(SMALL, **options)
    names = [name for name, _ in network.named_parameters() if not name.startswith("hrnet.")]
    assert not [name for name in names for prefix in without if name.startswith(prefix)]
    assert (options.get("semantics") == "multiple") == (len(getattr(network.semantics, "deform", ())) == 5)
    assert network(torch.randn(1, len(network.frames), 3, 64, 64)).shape == (1, 17, 16, 16)


@pytest.mark.parametrize("initial", ["identity", "gaussian"])
def test_the_alignment_gets_a_gradient_unless_every_weight_begins_near_zero(initial: Any) -> None:
    torch.manual_seed(0)
    network = FaSRnet(SMALL, initial=initial)
    with torch.enable_grad():
        network(torch.randn(2, 3, 3, 64, 64)).square().mean().backward()
    norms = {
        name: float(parameter.grad.norm())
        for name, parameter in network.align.named_parameters()
        if name.endswith("weight") and parameter.grad is not None
    }
    assert len(norms) == 2 * 13
    # Adam adds 1e-8 to the root of the mean square: what is far below it does not move.
    is_dead = [name for name, norm in norms.items() if norm < 1e-12]
    assert bool(is_dead) == (initial == "gaussian")
