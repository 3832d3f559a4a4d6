"""Deformable convolution against a loop over its definition, ONNX Runtime's operator, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.layers.deform_conv import DeformConv2d, deform_conv2d  # noqa: E402

Settings = dict[str, Any]
CASES: list[Settings] = [
    {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "offset_groups": 1},
    {"stride": 2, "padding": 3, "dilation": 3, "groups": 1, "offset_groups": 2},
    {"stride": 1, "padding": 2, "dilation": 2, "groups": 2, "offset_groups": 4},
    {"stride": 1, "padding": 0, "dilation": 1, "groups": 4, "offset_groups": 1},
]


def tensors(case: Settings, *, spread: float = 2.0, seed: int = 0) -> tuple[Any, ...]:
    """x, offset, mask, weight, bias in float64; offsets reach beyond every border."""
    g = torch.Generator().manual_seed(seed)
    n, c, o, h, w, k = 2, 8, 12, 9, 7, 9
    side = [(s + 2 * case["padding"] - 2 * case["dilation"] - 1) // case["stride"] + 1 for s in (h, w)]
    groups = case["offset_groups"]
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    return (
        draw(n, c, h, w),
        draw(n, 2 * groups * k, *side) * spread,
        draw(n, groups * k, *side),
        draw(o, c // case["groups"], 3, 3),
        draw(o),
    )


def naive(inputs: Sequence[Any], case: Settings) -> Any:
    """The definition, one number at a time."""
    x, offset, mask, weight, bias = inputs
    n, c, h, w = x.shape
    o, per_group, kh, kw = weight.shape
    oh, ow = offset.shape[2:]
    groups, deformable = c // per_group, case["offset_groups"]
    result = np.zeros((n, o, oh, ow))

    def pixel(b: int, ch: int, y: int, z: int) -> float:
        return float(x[b, ch, y, z]) if 0 <= y < h and 0 <= z < w else 0.0

    def sample(b: int, ch: int, y: float, z: float) -> float:
        if not (-1 < y < h and -1 < z < w):
            return 0.0
        y0, z0 = math.floor(y), math.floor(z)
        fy, fz = y - y0, z - z0
        return (
            (1 - fy) * (1 - fz) * pixel(b, ch, y0, z0)
            + (1 - fy) * fz * pixel(b, ch, y0, z0 + 1)
            + fy * (1 - fz) * pixel(b, ch, y0 + 1, z0)
            + fy * fz * pixel(b, ch, y0 + 1, z0 + 1)
        )

    for b, i, j in np.ndindex(n, oh, ow):
        for ch, p, q in np.ndindex(c, kh, kw):
            g, k = ch // (c // deformable), p * kw + q
            y = i * case["stride"] - case["padding"] + p * case["dilation"] + float(offset[b, 2 * (g * 9 + k), i, j])
            z = (
                j * case["stride"]
                - case["padding"]
                + q * case["dilation"]
                + float(offset[b, 2 * (g * 9 + k) + 1, i, j])
            )
            value = sample(b, ch, y, z) * float(mask[b, g * 9 + k, i, j])
            group = ch // per_group
            outs = slice(group * (o // groups), (group + 1) * (o // groups))
            result[b, outs, i, j] += value * weight[outs, ch % per_group, p, q].numpy()
    return result + bias.numpy()[None, :, None, None]


def ours(inputs: Sequence[Any], case: Settings) -> Any:
    x, offset, mask, weight, bias = inputs
    return deform_conv2d(
        x,
        offset,
        weight,
        bias,
        mask,
        stride=case["stride"],
        padding=case["padding"],
        dilation=case["dilation"],
        offset_groups=case["offset_groups"],
    )


@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_definition(case: Settings) -> None:
    inputs = tensors(case)
    # float64: 72 products a sum, and coordinates pass through a scaling to -1 … 1 that costs a few ulp
    np.testing.assert_allclose(ours(inputs, case).numpy(), naive(inputs, case), atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_it_equals_onnx_runtime(case: Settings) -> None:
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper = onnx.helper
    inputs = [t.float() for t in tensors(case)]
    names = ["X", "offset", "mask", "W", "B"]
    node = helper.make_node(
        "DeformConv",
        ["X", "W", "offset", "B", "mask"],
        ["Y"],
        strides=[case["stride"]] * 2,
        pads=[case["padding"]] * 4,
        dilations=[case["dilation"]] * 2,
        group=case["groups"],
        offset_group=case["offset_groups"],
        kernel_shape=[3, 3],
    )
    graph = helper.make_graph(
        [node],
        "dcn",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, t.shape) for n, t in zip(names, inputs, strict=True)],
        [helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})[0]
    # float32: a coordinate near 10 is known to 1e-6 px, slopes are about 5, 72 terms add up
    np.testing.assert_allclose(ours(inputs, case).numpy(), theirs, atol=5e-4)


@pytest.mark.parametrize("case", CASES[1:3])
def test_gradients_equal_finite_differences(case: Settings) -> None:
    x, offset, mask, weight, bias = tensors(case)
    # Away from whole pixels, where bilinear interpolation has a corner and no derivative.
    offset = offset.round() + 0.3 + 0.4 * torch.rand(offset.shape, dtype=torch.float64)
    inputs = [
        t[:1].requires_grad_() if t.dim() == 4 and t is not weight else t.requires_grad_()
        for t in (x, offset, mask, weight, bias)
    ]
    assert torch.autograd.gradcheck(lambda *t: ours(t, case), inputs, fast_mode=True)


@pytest.mark.slow
def test_the_operator_passes_opcheck() -> None:
    case = CASES[1]
    x, offset, mask, weight, bias = (t.requires_grad_() for t in tensors(case))
    torch.library.opcheck(
        torch.ops.posestream.deform_conv2d.default, (x, offset, mask, weight, bias, [2, 2], [3, 3], [3, 3], 2)
    )


def test_a_map_one_pixel_wide_is_sampled_correctly() -> None:
    x = torch.tensor([2.0, 3.0, 5.0]).reshape(1, 1, 3, 1)
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    y = deform_conv2d(x, torch.zeros(1, 18, 3, 1), weight, padding=1)
    torch.testing.assert_close(y, x)


def test_zero_offsets_without_a_mask_give_an_ordinary_convolution() -> None:
    layer = DeformConv2d(4, 6, padding=3, dilation=3)
    x = torch.randn(2, 4, 10, 8)
    plain = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=3, dilation=3)
    torch.testing.assert_close(layer(x, torch.zeros(2, 18, 10, 8)), plain, rtol=1e-5, atol=1e-5)


def test_maps_of_the_wrong_size_name_both_shapes() -> None:
    message = r"offset is \(1, 18, 5, 5\), a \(1, 4, 6, 6\) input needs \(1, 18, 6, 6\)"
    with pytest.raises(ValueError, match=message):
        deform_conv2d(torch.zeros(1, 4, 6, 6), torch.zeros(1, 18, 5, 5), torch.zeros(4, 4, 3, 3), padding=1)
    message = r"mask is \(1, 18, 6, 6\), a \(1, 4, 6, 6\) input needs \(1, 9, 6, 6\)"
    with pytest.raises(ValueError, match=message):
        deform_conv2d(
            torch.zeros(1, 4, 6, 6),
            torch.zeros(1, 18, 6, 6),
            torch.zeros(4, 4, 3, 3),
            mask=torch.zeros(1, 18, 6, 6),
            padding=1,
        )


def test_under_autocast_it_computes_in_float32_and_gives_each_input_a_gradient_of_its_own_type() -> None:
    case = CASES[1]
    x, offset, mask, weight, bias = (t.float() for t in tensors(case))
    inputs = [t.requires_grad_() for t in (x.bfloat16(), offset, mask.bfloat16(), weight, bias)]
    singles = [t.detach().float().requires_grad_() for t in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        result = ours(inputs, case)
        gradients = torch.autograd.grad(result.square().sum(), inputs)
    expected = ours(singles, case)
    # The same arithmetic on the same numbers: to the last bit.
    assert torch.equal(result, expected)
    for got, wanted, given in zip(
        gradients, torch.autograd.grad(expected.square().sum(), singles), inputs, strict=True
    ):
        assert torch.equal(got, wanted.to(given.dtype))
