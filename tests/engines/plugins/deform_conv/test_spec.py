"""Specs refuse what no kernel is for, in a line, and launches are right for numbers and for symbols."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engines.errors import EngineError
from engines.plugins.deform_conv.spec import DeformConvSpec, kernel_arguments, plan_launch
from engines.plugins.deform_conv.tiling import SHARED_LIMIT

DCPOSE = DeformConvSpec(17, 17, offset_groups=17, dilations=(3, 6, 9, 12, 15))


class Symbol:
    """An integer that is not known yet: + - * // alone, as TensorRT's SymIntExpr."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _with(self, sign: str, other: Any) -> Symbol:
        return Symbol(f"({self.text} {sign} {other.text if isinstance(other, Symbol) else other})")

    def __add__(self, other: Any) -> Symbol:
        return self._with("+", other)

    def __sub__(self, other: Any) -> Symbol:
        return self._with("-", other)

    def __mul__(self, other: Any) -> Symbol:
        return self._with("*", other)

    def __floordiv__(self, other: Any) -> Symbol:
        return self._with("//", other)

    def at(self, **values: int) -> int:
        """Its value, once sizes are known."""
        return int(eval(self.text, {}, values))


def test_inputs_are_named_in_the_order_of_the_kernel_s_parameters() -> None:
    offsets, masks = [f"offset{r}" for r in range(5)], [f"mask{r}" for r in range(5)]
    assert DCPOSE.inputs == ("x", *offsets, *masks, "weight", "bias")
    assert DeformConvSpec(8, 8, mask="none").inputs == ("x", "offset0", "weight", "bias")
    joined = DeformConvSpec(8, 8, dilations=(1, 2), joined=True)
    assert joined.inputs == ("x", "offset0", "mask0", "weight", "bias")


def test_a_launch_covers_every_pixel_person_and_output_channel() -> None:
    assert plan_launch(DCPOSE, 4, 96, 72) == ((108, 1, 4), 256, (96, 72, 96, 72), 0)
    strided = DeformConvSpec(24, 160, stride=2)
    grid, _, integers, _ = plan_launch(strided, 3, 11, 7)
    assert integers == (11, 7, 6, 4)
    assert grid == (math.ceil(24 / 64), 2, 3)


@pytest.mark.parametrize("spec", [DCPOSE, DeformConvSpec(24, 160, stride=2), DeformConvSpec(8, 8, paddings=(0,))])
def test_a_launch_of_symbols_is_the_launch_of_their_values(spec: DeformConvSpec) -> None:
    symbolic = plan_launch(spec, Symbol("n"), Symbol("h"), Symbol("w"))
    for n, h, w in ((1, 96, 72), (64, 64, 48), (3, 9, 7)):
        at_last = [v.at(n=n, h=h, w=w) if isinstance(v, Symbol) else v for v in (*symbolic.grid, *symbolic.integers)]
        numbers = plan_launch(spec, n, h, w)
        assert at_last == [*numbers.grid, *numbers.integers]


def test_arguments_are_inputs_then_integers_then_the_output() -> None:
    spec = DeformConvSpec(8, 8, mask="none")
    addresses = {name: 16 * i for i, name in enumerate(spec.inputs)}
    values, types = kernel_arguments(spec, addresses, plan_launch(spec, 1, 9, 7), 4096)
    assert values == (0, 16, 32, 48, 9, 7, 9, 7, 4096)
    assert [kind.__name__ for kind in types] == ["c_void_p"] * 4 + ["c_int"] * 4 + ["c_void_p"]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize(("channels", "groups"), [(17, 17), (17, 1), (48, 12), (48, 1), (51, 17), (51, 1), (256, 1)])
def test_every_network_fits_into_the_shared_memory_of_any_gpu(
    channels: int, groups: int, dtype: Any, layout: Any
) -> None:
    tiling = DeformConvSpec(channels, channels, offset_groups=groups, dtype=dtype, layout=layout).tiling
    assert tiling.shared_bytes <= SHARED_LIMIT
    assert tiling.depth % (4 if dtype == "fp32" else 16) == 0
    assert tiling.depth >= tiling.values


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"channels": 0}, "deform_conv: channels=0; give at least 1"),
    ({"offset_groups": 3}, "8 channels cannot be divided into offset_groups=3; give a number that divides them"),
    ({"dilations": ()}, "kernel=(3, 3), dilations=(); give at least 1 of each"),
    ({"dilations": tuple(range(1, 10))}, "9 dilations in one launch; give at most 8"),
    ({"dtype": "int8"}, "dtype='int8'; choose one of fp16, bf16, fp32"),
    ({"activation": "gelu"}, "activation='gelu'; choose one of none, relu, leaky_relu"),
    ({"tile": 48}, "tile=48; choose one of 32, 64, 128"),
    ({"paddings": (1, 1)}, "paddings=(1, 1) for dilations=(1,); give one of 0 or more to each"),
    ({"kernel": (5, 3)}, "a 5x3 kernel has no default padding; give paddings"),
    ({"dilations": (1, 2), "paddings": (1, 1)}, "give results of different sizes, which cannot be added"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_no_kernel_is_for_is_refused_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError) as caught:
        DeformConvSpec(**{"channels": 8, "out_channels": 8} | change)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
