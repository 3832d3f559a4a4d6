"""What leaves PyTorch: any batch, no normalisation left, a bias for TensorRT, and a reason where it cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from engines.layers.deform_conv import DeformConv2d  # noqa: E402
from export.graph.editing import prune  # noqa: E402
from export.graph.folding import fold_normalisations  # noqa: E402
from export.graph.wrappers import Graph  # noqa: E402
from export.to_onnx import check_opset, to_onnx  # noqa: E402


def graph(module: Any, *example: Any) -> Graph:
    return Graph("fused", module.eval(), example, tuple(f"in_{i}" for i in range(len(example))), ("out",))


def run(model: Any, *inputs: Any) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {f"in_{i}": value.numpy() for i, value in enumerate(inputs)})[0]


class Twice(nn.Module):
    """One convolution with normalisation, run twice: the exporter leaves the normalisation of such ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(torch.relu(self.norm(self.conv(x)))))


class Deformed(nn.Module):
    """Without a bias, as PoseWarper's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = DeformConv2d(4, 6, padding=1, bias=False)

    def forward(self, x: Any, offset: Any, mask: Any) -> Any:
        return self.layer(x, offset, mask)


class Fixed(nn.Module):
    """Takes its batch for a number."""

    def forward(self, x: Any) -> Any:
        return torch.cat([x[i : i + 1] * i for i in range(len(x))])


def test_a_normalisation_is_folded_even_where_its_convolution_runs_twice() -> None:
    module = Twice()
    model = to_onnx(graph(module, torch.randn(2, 3, 6, 5)))
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu"}
    x = torch.randn(3, 3, 6, 5)
    with torch.no_grad():
        np.testing.assert_allclose(run(model, x), module(x), atol=1e-5)  # float32, sums of 27


def test_a_normalisation_that_others_read_past_stays() -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
        onnx.helper.make_node("BatchNormalization", ["c", *"gbmv"], ["n"]),
        onnx.helper.make_node("Add", ["c", "n"], ["y"]),
    ]
    ones = [onnx.numpy_helper.from_array(np.ones(2, np.float32), name) for name in "gbmv"]
    weights = onnx.numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "w")
    drawn = onnx.helper.make_graph(
        nodes, "drawn", [], [onnx.helper.make_tensor_value_info("y", 1, None)], [*ones, weights]
    )
    model = onnx.helper.make_model(drawn)
    fold_normalisations(model)
    assert [node.op_type for node in model.graph.node] == ["Conv", "BatchNormalization", "Add"]


def test_a_deformable_convolution_always_has_a_bias() -> None:
    module = Deformed()
    maps = torch.randn(2, 4, 6, 5), torch.randn(2, 18, 6, 5), torch.rand(2, 9, 6, 5)
    model = to_onnx(graph(module, *maps))
    (node,) = (node for node in model.graph.node if node.op_type == "DeformConv")
    assert all(node.input)
    assert len(node.input) == 5
    with torch.no_grad():
        np.testing.assert_allclose(run(model, *maps), module(*maps), atol=1e-5)


def test_what_holds_for_one_batch_only_is_refused() -> None:
    with pytest.raises(EngineError) as caught:
        to_onnx(graph(Fixed(), torch.randn(2, 3)))
    assert str(caught.value).startswith("part fused: PyTorch cannot export it: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_an_older_opset_is_refused_with_the_reason(opset: int) -> None:
    with pytest.raises(EngineError) as caught:
        check_opset(opset)
    assert str(caught.value) == (
        f"--opset {opset}: deformable convolution exports into opsets below 19 without an error but cannot be "
        "loaded, and sampling by a grid changed with 20; give 20 or more"
    )


def test_an_opset_that_onnx_does_not_support_is_refused() -> None:
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(EngineError) as caught:
        check_opset(newest + 1)
    assert str(caught.value) == (
        f"--opset {newest + 1}: onnx {onnx.__version__} supports opsets up to {newest}; give at most that"
    )


def test_pruning_leaves_only_what_an_output_needs() -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"]), onnx.helper.make_node("Add", ["y", "w"], ["z"])]
    weights = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    outputs = [onnx.helper.make_tensor_value_info("y", 1, ["n"])]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "drawn", [], outputs, [weights]))
    prune(model)
    assert [node.op_type for node in model.graph.node] == ["Relu"]
    assert not model.graph.initializer
