"""Half precision on a CPU is rounded as a GPU rounds it, whatever ONNX Runtime would leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from export.precision.rounding import round_float16  # noqa: E402

HALF = TensorProto.FLOAT16
SMALL = 2.0**-11  # beside 1, half a step of float16: rounding to even drops it


def sums(number: int) -> Any:
    """``maps_0 + 2^-11 + 2^-11 + …``, all of it float16."""
    nodes = [helper.make_node("Add", [f"v{i}" if i else "maps_0", "a"], [f"v{i + 1}"]) for i in range(number)]
    nodes[-1].output[0] = "maps_1"
    ends = [helper.make_tensor_value_info(name, HALF, ["N"]) for name in ("maps_0", "maps_1")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(np.float16(SMALL), "a")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_every_node_rounds_what_it_makes(run: Callable[..., Any]) -> None:
    ones = {"maps_0": np.ones(3, np.float16)}
    found = run(round_float16(sums(8)), ones)["maps_1"]
    # Eight halves of a step are four steps; rounded one at a time they are none.
    np.testing.assert_array_equal(found, np.ones(3, np.float16))


def test_inputs_and_outputs_keep_their_types(run: Callable[..., Any]) -> None:
    model = round_float16(sums(2))
    assert [entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)] == [HALF, HALF]
    assert run(model, {"maps_0": np.zeros(1, np.float16)})["maps_1"].dtype == np.float16


def test_what_is_float32_is_left_alone(run: Callable[..., Any]) -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    assert list(round_float16(model).graph.node) == [node]
