"""Several dilations in one call equal the sum of single calls: values, gradients and operator registration."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.layers.deform_conv import DeformConv2d  # noqa: E402
from engines.layers.deform_dilated import deform_conv2d_dilated  # noqa: E402

DILATIONS = (1, 3, 6)


def case(groups: int, *, masked: bool, bias: bool) -> tuple[Any, Any, Any, Any]:
    """Layers, input, offsets and masks in float64."""
    torch.manual_seed(0)
    layers = [DeformConv2d(4, 6, padding=d, dilation=d, offset_groups=groups, bias=bias).double() for d in DILATIONS]
    for layer in layers:
        if bias:
            torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    offsets = [torch.randn(2, 18 * groups, 9, 7, dtype=torch.float64) for _ in DILATIONS]
    masks = [torch.rand(2, 9 * groups, 9, 7, dtype=torch.float64) for _ in DILATIONS] if masked else []
    return layers, x, offsets, masks


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("masked", "bias"), [(True, True), (False, False), (True, False)])
def test_the_sum_in_one_call_is_the_sum_of_the_calls(groups: int, masked: bool, bias: bool) -> None:
    layers, x, offsets, masks = case(groups, masked=masked, bias=bias)
    together = deform_conv2d_dilated(x, layers, offsets, masks)
    each = [layer(x, offsets[i], masks[i] if masked else None) for i, layer in enumerate(layers)]
    torch.testing.assert_close(together, sum(each))  # float64: the order of the additions differs


def test_gradients_are_those_of_the_sum_of_the_calls() -> None:
    layers, x, offsets, masks = case(2, masked=True, bias=True)
    leaves = [x, *offsets, *masks]
    for leaf in leaves:
        leaf.requires_grad_()
    leaves += [parameter for layer in layers for parameter in layer.parameters()]
    together = torch.autograd.grad(deform_conv2d_dilated(x, layers, offsets, masks).square().sum(), leaves)
    each = sum(layer(x, offsets[i], masks[i]) for i, layer in enumerate(layers))
    for one, other in zip(together, torch.autograd.grad(each.square().sum(), leaves), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_the_operator_passes_opcheck() -> None:
    layers, x, offsets, masks = case(1, masked=True, bias=True)
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    torch.library.opcheck(
        torch.ops.posestream.deform_conv2d_dilated.default,
        (x.requires_grad_(), offsets, masks, weights, biases, list(DILATIONS), 1),
    )


def test_a_map_of_the_wrong_size_and_a_missing_map_are_errors() -> None:
    layers, x, offsets, masks = case(1, masked=True, bias=True)
    with pytest.raises(ValueError, match=r"offset of dilation 3 is \(2, 18, 5, 5\), a \(2, 4, 9, 7\) input needs"):
        deform_conv2d_dilated(x, layers, [offsets[0], offsets[1][..., :5, :5], offsets[2]], masks)
    with pytest.raises(ValueError, match="3 dilations, 2 offsets and 3 weights; give one of each for every dilation"):
        deform_conv2d_dilated(x, layers, offsets[:2], masks)


def test_under_autocast_it_computes_in_float32() -> None:
    layers, x, offsets, masks = case(2, masked=True, bias=True)
    layers = [layer.float() for layer in layers]
    leaves = [x.bfloat16().requires_grad_(), *(t.float().requires_grad_() for t in (*offsets, *masks))]
    offsets, masks = leaves[1:4], leaves[4:]
    with torch.autocast("cpu", torch.bfloat16):
        result = deform_conv2d_dilated(leaves[0], layers, offsets, masks)
        gradients = torch.autograd.grad(result.square().sum(), leaves)
    expected = deform_conv2d_dilated(leaves[0].float(), layers, offsets, masks)
    # The same arithmetic on the same numbers: to the last bit.
    assert torch.equal(result, expected)
    for got, wanted in zip(gradients, torch.autograd.grad(expected.square().sum(), leaves), strict=True):
        assert got.dtype == wanted.dtype
        assert torch.equal(got, wanted)
