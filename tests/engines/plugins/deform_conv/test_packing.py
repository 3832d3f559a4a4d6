"""Packed weights lie where the kernel's threads look for them: checked against the definition, number by number."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.errors import EngineError  # noqa: E402
from engines.plugins.deform_conv.packing import k_rows, pack_bias, pack_indices, pack_weights  # noqa: E402
from engines.plugins.deform_conv.spec import DeformConvSpec  # noqa: E402
from engines.plugins.deform_conv.torch_cuda import pack_weights as pack_tensors  # noqa: E402

SPECS = [
    DeformConvSpec(48, 48, offset_groups=12, layout="nhwc"),
    DeformConvSpec(17, 17, offset_groups=17, dilations=(3, 6)),
    DeformConvSpec(51, 160, dtype="fp32"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_every_weight_is_packed_exactly_once_and_the_rest_is_zero(spec: DeformConvSpec) -> None:
    total = spec.rounds * spec.out_channels * spec.channels * spec.points
    counts = np.bincount(pack_indices(spec), minlength=total + 1)
    assert (counts[:total] == 1).all()
    assert counts[total] == len(pack_indices(spec)) - total


def test_a_lane_finds_its_rows_and_column_where_the_instruction_set_says() -> None:
    spec = SPECS[0]
    weights = np.random.default_rng(0).standard_normal((48, 48, 3, 3)).astype(np.float16)
    packed = pack_weights(spec, [weights]).reshape(9, 3, 6, 32, 4)  # point, 16 rows, 8 columns, lane, register half
    for point, k16, n8, lane in ((0, 0, 0, 0), (4, 1, 3, 13), (8, 2, 5, 31)):
        group, thread = lane >> 2, lane & 3  # PTX ISA, mma.m16n8k16, matrix B: "groupID" and "threadID_in_group"
        rows = [k16 * 16 + thread * 2 + (i & 1) + (8 if i >= 2 else 0) for i in range(4)]
        wanted = weights[n8 * 8 + group, rows, point // 3, point % 3]
        np.testing.assert_array_equal(packed[point, k16, n8, lane], wanted)


def test_fp32_weights_lie_row_by_row() -> None:
    spec = DeformConvSpec(8, 20, dtype="fp32")
    weights = np.random.default_rng(0).standard_normal((20, 8, 3, 3)).astype(np.float32)
    tiling = spec.tiling
    matrix = pack_weights(spec, [weights]).reshape(-1, tiling.out_tile)
    flat = weights.reshape(20, 72).T
    for row, source in enumerate(k_rows(spec)):
        np.testing.assert_array_equal(matrix[row, :20], flat[source] if source >= 0 else 0)
    assert not matrix[:, 20:].any()


@pytest.mark.parametrize("spec", SPECS)
def test_torch_packs_as_numpy_does(spec: DeformConvSpec) -> None:
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(spec.out_channels, spec.channels, 3, 3, generator=g) for _ in spec.dilations]
    of_numpy = pack_weights(spec, [w.numpy() for w in weights])
    np.testing.assert_array_equal(pack_tensors(spec, weights).numpy(), of_numpy)


def test_biases_of_all_dilations_are_one() -> None:
    spec = DeformConvSpec(8, 4, dilations=(1, 2))
    np.testing.assert_array_equal(pack_bias(spec, [np.ones(4, np.float16), np.full(4, 2.0)]), np.full(4, 3, np.float32))
    np.testing.assert_array_equal(pack_bias(spec, []), np.zeros(4, np.float32))


def test_weights_of_another_shape_and_weight_groups_are_refused_in_one_line() -> None:
    with pytest.raises(EngineError) as caught:
        pack_weights(DeformConvSpec(8, 8), [np.zeros((8, 4, 3, 3), np.float32)])
    assert str(caught.value) == (
        "deform_conv: weights of shapes [(8, 4, 3, 3)], dilations (1,) need one (8, 8, 3, 3) each; "
        "this kernel supports one weight group only"
    )
    with pytest.raises(EngineError, match=r"numpy has no bf16; pack the weights with torch_cuda\.pack_weights"):
        pack_weights(DeformConvSpec(8, 8, dtype="bf16"), [np.zeros((8, 8, 3, 3), np.float32)])
