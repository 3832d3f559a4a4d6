"""What is changed in a graph for TensorRT's parser, node by node, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from export.graph.tensorrt_graph import check_importable, find_types, make_tensorrt_graph, structure_digest  # noqa: E402

HERE = Path()
FLOAT, HALF, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


def model(nodes: list[Any], inputs: dict[str, tuple[int, list[Any]]], output: str, weights: dict[str, Any]) -> Any:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(output, FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_operatorsetid("", 20)],
        ir_version=10,
    )


def pixels() -> Any:
    """Channels are moved and swapped as bytes, and become floats only then."""
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["planes", "order"], ["rgb"], axis=1),
        helper.make_node("Cast", ["rgb"], ["floats"], to=FLOAT),
        helper.make_node("Conv", ["floats", "filters"], ["maps"]),
    ]
    weights = {
        "order": np.array([2, 1, 0]),
        "filters": np.random.default_rng(0).standard_normal((2, 3, 1, 1)).astype(np.float32),
        "unused": np.zeros(3, np.float32),
    }
    return model(nodes, {"crops": (UINT8, ["batch", 4, 5, 3])}, "maps", weights)


def test_pixels_are_cast_before_anything_else_reads_them_and_the_result_is_the_same() -> None:
    runtime = pytest.importorskip("onnxruntime")
    before = pixels()
    after = make_tensorrt_graph(before, "fused", HERE).model
    readers = [node for node in after.graph.node if "crops" in node.input]
    assert [node.op_type for node in readers] == ["Cast"]
    crops = np.random.default_rng(1).integers(0, 256, (2, 4, 5, 3), np.uint8)
    one, two = (
        runtime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"crops": crops})[
            0
        ]
        for m in (before, after)
    )
    # bytes are floats exactly: moving them before or after is the same to the last bit
    np.testing.assert_array_equal(one, two)


def test_the_graph_that_was_given_is_left_as_it_was() -> None:
    given = pixels()
    before = given.SerializeToString()
    make_tensorrt_graph(given, "fused", HERE)
    assert given.SerializeToString() == before


def test_every_node_gets_a_name_of_its_own_and_what_is_never_read_goes() -> None:
    after = make_tensorrt_graph(pixels(), "nvidia", HERE).model.graph
    names = [node.name for node in after.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert {tensor.name for tensor in after.initializer} == {"order", "filters"}


def test_products_are_listed_with_the_type_they_must_run_in() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], name="down", to=HALF),
        helper.make_node("Conv", ["half", "w16"], ["a"], name="conv_half"),
        helper.make_node("Cast", ["a"], ["a32"], name="up", to=FLOAT),
        helper.make_node("QuantizeLinear", ["a32", "scale", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="dq"),
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], name="dw"),
        helper.make_node("Conv", ["dq", "w"], ["b"], name="conv_int8"),
        helper.make_node("Conv", ["b", "w32"], ["y"], name="conv_float"),
    ]
    weights = {
        "w16": np.zeros((2, 2, 1, 1), np.float16),
        "w32": np.zeros((2, 2, 1, 1), np.float32),
        "w8": np.zeros((2, 2, 1, 1), np.int8),
        "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int8),
    }
    inferred = onnx.shape_inference.infer_shapes(model(nodes, {"x": (FLOAT, [1, 2, 4, 4])}, "y", weights))
    assert find_types(inferred.graph) == {"conv_half": "fp16", "conv_int8": "int8", "conv_float": "fp32"}


def deformable(**changes: Any) -> Any:
    """A standard DeformConv; ``inputs`` and ``pads`` may be changed, and the type of the offsets."""
    inputs = changes.get("inputs", ["x", "w", "offset", "b", "mask"])
    nodes = [helper.make_node("DeformConv", inputs, ["y"], name="deform", pads=changes.get("pads", [1, 1, 1, 1]))]
    offsets = changes.get("offsets", FLOAT)
    given = {"x": (FLOAT, [1, 2, 6, 6]), "offset": (offsets, [1, 18, 6, 6]), "mask": (FLOAT, [1, 9, 6, 6])}
    weights = {"w": np.zeros((2, 2, 3, 3), np.float32), "b": np.zeros(2, np.float32)}
    return model(nodes, given, "y", weights)


def test_a_standard_node_as_exported_is_importable_and_stays_for_the_route_of_nvidia() -> None:
    kept = make_tensorrt_graph(deformable(), "nvidia", HERE)
    assert [node.op_type for node in kept.model.graph.node] == ["DeformConv"]
    assert kept.kernels == ()
    assert kept.types == {"deform": "fp32"}


UNFIT = [
    ({"offsets": HALF}, "its inputs have 2 types, it supports one"),
    ({"pads": [1, 0, 1, 2]}, r"its padding \[1, 0, 1, 2\] is not the same at opposite sides"),
    ({"inputs": ["x", "w", "offset", "", "mask"]}, "it has a mask and no bias"),
]


@pytest.mark.parametrize(("changes", "said"), UNFIT)
def test_a_standard_node_that_the_importer_refuses_is_named(changes: Any, said: str) -> None:
    with pytest.raises(
        EngineError, match=rf"^TensorRT cannot import node 'deform' \(DeformConv\): {said}; export with"
    ):
        check_importable(deformable(**changes).graph)


def test_the_digest_of_the_structure_sees_the_graph_and_not_the_checkpoint() -> None:
    one, two, other = pixels(), pixels(), pixels()
    two.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "filters"))
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([0, 1, 2]), "order"))
    assert structure_digest(one) == structure_digest(two)
    assert structure_digest(one) != structure_digest(other)
