"""The kernel's own source, run on a processor block by block, against the definition in float64.

An emulated block reports accesses out of bounds, reads of bytes never written and races; so every test here also says
that there are none.
"""

from __future__ import annotations

import ctypes

import pytest

torch = pytest.importorskip("torch")

from engines.plugins.deform_conv.spec import DeformConvSpec  # noqa: E402
from tests.engines.plugins.deform_conv.cases import drawn, emulated, error, exact, plain  # noqa: E402
from tests.engines.plugins.deform_conv.emulation import Emulator, KernelError  # noqa: E402

FAMI = DeformConvSpec(48, 48, offset_groups=12, dilations=(3,), layout="nhwc")
DCPOSE = DeformConvSpec(17, 17, offset_groups=17, dilations=(3, 6, 9, 12, 15))
IMAPOSE = DeformConvSpec(48, 48, dilations=(1, 3, 6, 9, 12), layout="nhwc")
SMALL = DeformConvSpec(8, 16, offset_groups=2, mask="none")

SPECS = {
    "FAMI-Pose": FAMI,
    "FAMI-Pose-nchw-relu": DeformConvSpec(48, 48, offset_groups=12, dilations=(3,), mask="fp32", activation="relu"),
    "FAMI-Pose-bf16": DeformConvSpec(48, 48, offset_groups=12, dtype="bf16", mask="bf16", layout="nhwc"),
    "FAMI-Pose-fp32": DeformConvSpec(48, 48, offset_groups=12, dtype="fp32", mask="fp32", layout="nhwc"),
    "DCPose": DCPOSE,
    "DCPose-bf16": DeformConvSpec(17, 17, offset_groups=17, dtype="bf16", mask="fp32"),
    "PoseWarper-fp32-joined": DeformConvSpec(
        17, 17, offset_groups=17, dilations=(3, 6, 12, 18, 24), dtype="fp32", mask="none", joined=True
    ),
    "IMAPose": IMAPOSE,
    "51-of-three-leaky": DeformConvSpec(51, 51, offset_groups=17, mask="none", activation="leaky_relu", slope=0.1),
    "51-in-one-group": DeformConvSpec(51, 51),
    "51-in-one-group-fp32": DeformConvSpec(51, 51, dtype="fp32", mask="fp32"),
    "two-output-tiles-stride": DeformConvSpec(24, 160, stride=2, layout="nhwc"),
    "groups-nchw-table": DeformConvSpec(32, 32, offset_groups=4, dilations=(2,), joined=True),
    "uneven-kernel-small-tile": DeformConvSpec(
        16, 8, (5, 3), offset_groups=2, paddings=(2,), layout="nhwc", tile=32, threads=128
    ),
    "large-tile": DeformConvSpec(24, 24, offset_groups=12, layout="nhwc", tile=128),
}


@pytest.mark.parametrize("name", SPECS)
def test_the_kernel_is_at_most_twice_as_wrong_as_the_plain_operator(emulator: Emulator, name: str) -> None:
    # 77 pixels: a tile and a part of one; two people
    case = drawn(SPECS[name], 2, 11, 7)
    wanted, got = exact(case), emulated(emulator, case)
    assert not got.isnan().any()  # every result was written
    assert error(got, wanted) <= 2 * error(plain(case), wanted)
    if case.spec.dtype != "fp32":
        # The plain operator loses most where it computes coordinates; this bar leaves only what 16 bits must cost.
        assert error(got, wanted) <= 2 * error(exact(case, case.x.dtype), wanted)


@pytest.mark.parametrize("spec", [FAMI, DCPOSE, IMAPOSE], ids=["FAMI-Pose", "DCPose", "IMAPose"])
def test_blocks_of_a_paper_s_map_are_right_wherever_they_lie(emulator: Emulator, spec: DeformConvSpec) -> None:
    case = drawn(spec, 2, 96, 72)
    got = emulated(emulator, case, [(0, 0, 0), (53, 0, 1), (107, 0, 1)])
    assert int((~got.isnan()).sum()) == 3 * spec.tile * spec.out_channels
    wanted = exact(case)
    assert error(got, wanted) <= 2 * error(exact(case, torch.float16), wanted)


def test_a_map_smaller_than_a_tile_and_a_batch_of_three_are_right(emulator: Emulator) -> None:
    case = drawn(FAMI, 3, 8, 6)
    wanted, got = exact(case), emulated(emulator, case)
    assert not got.isnan().any()
    assert error(got, wanted) <= 2 * error(exact(case, torch.float16), wanted)


# Where row 0 of an 11×7 map's first kernel point is read with padding 1: -1 plus the offset.
@pytest.mark.parametrize("dy", [0.0, 0.5, 1.0, 10.5, 11.0, 11.5, 12.0, -0.001, -3.0, 1e4, -1e30, 3e38])
def test_samples_at_and_beyond_the_borders_count_as_the_definition_says(emulator: Emulator, dy: float) -> None:
    case = drawn(SMALL, 1, 11, 7)
    case.offsets[0][:, 0::2] = dy
    wanted = exact(case)
    assert error(emulated(emulator, case), wanted) <= 2 * error(exact(case, torch.float16), wanted) + 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("axis", [0, 1])
def test_an_offset_that_is_no_number_reads_nothing(emulator: Emulator, value: float, axis: int) -> None:
    case = drawn(SMALL, 1, 11, 7)
    outside = drawn(SMALL, 1, 11, 7)
    case.offsets[0][:, axis + 4 :: 6] = value
    outside.offsets[0][:, axis + 4 :: 6] = 1e4
    torch.testing.assert_close(emulated(emulator, case), emulated(emulator, outside), rtol=0, atol=0)


def test_people_do_not_depend_on_each_other(emulator: Emulator) -> None:
    case = drawn(SMALL, 3, 8, 6)
    together = emulated(emulator, case)
    case.x, case.offsets = case.x[2:], [case.offsets[0][2:]]
    torch.testing.assert_close(emulated(emulator, case)[0], together[2], rtol=0, atol=0)


FAULTS: dict[str, tuple[tuple[str, str], str]] = {
    "no barrier in the loop": (
        ("wait_for_copies();\n        barrier();", "wait_for_copies();"),
        "since the last barrier",
    ),
    "one buffer of samples": (("return (stage & 1) * GATHERED;", "return 0;"), "since the last barrier"),
    "one buffer of weights": (("2 * GATHERED + (stage & 1) * WEIGHTS", "2 * GATHERED"), "since the last barrier"),
    "padding of K not cleared": (("    clear_padding();\n", ""), "never written"),
    "corners not kept inside": (
        ("return value < low ? low : (value > high ? high : value);", "return value;"),
        "bounds",
    ),
    "pixels behind the map written": (("tile_start + pixel < shape.area", "true"), "write out of bounds"),
    "a copy without a wait": (("        wait_for_copies();\n", ""), ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_judge_sees_a_fault_put_into_the_kernel(emulator: Emulator, name: str) -> None:
    change, said = FAULTS[name]
    # C = 8 leaves half of each stage's rows as padding
    case = drawn(SMALL if "padding" not in name else DeformConvSpec(8, 8, layout="nhwc"), 1, 11, 7)
    if not said:
        assert error(emulated(emulator, case, change=change).nan_to_num(1e3), exact(case)) > 1
        return
    with pytest.raises(KernelError, match=said):
        emulated(emulator, case, change=change)


def test_the_emulated_conversions_to_16_bits_are_pytorchs(emulator: Emulator) -> None:
    # ties to even both ways, subnormals, the largest, beyond it, and numbers of all sizes
    edges = [1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 3 * 2**-25, 65504.0, 65519.9, 65520.0, -0.0, float("inf")]
    g = torch.Generator().manual_seed(0)
    sizes = torch.randn(2000, generator=g) * torch.exp2(torch.randint(-27, 17, (2000,), generator=g).float())
    values = torch.cat([torch.tensor(edges), sizes])
    for spec, convert in ((SMALL, "to_half"), (DeformConvSpec(8, 16, dtype="bf16", offset_groups=2), "to_bfloat")):
        function = getattr(emulator.library(spec), convert)
        function.argtypes = [ctypes.c_float]
        wanted = values.half() if convert == "to_half" else values.bfloat16()
        got = torch.tensor([function(v) for v in values.tolist()], dtype=torch.int32)
        torch.testing.assert_close(got, wanted.view(torch.int16).int() & 0xFFFF, rtol=0, atol=0)
