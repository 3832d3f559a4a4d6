"""Deformable convolution leaves PyTorch as one standard node, and ONNX Runtime computes the same with it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import torch  # noqa: E402

from engines.layers.deform_conv import DeformConv2d  # noqa: E402
from export.graph.operators import TRANSLATIONS  # noqa: E402

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def exported(model: Any, inputs: tuple[Any, ...]) -> Any:
    program = torch.onnx.export(
        model, inputs, dynamo=True, opset_version=20, custom_translation_table=TRANSLATIONS, verbose=False
    )
    memory = io.BytesIO()
    program.save(memory)
    return onnx.load_from_string(memory.getvalue())


def operators(graph: Any) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def run(graph: Any, inputs: tuple[Any, ...]) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]


def scattered(model: Any) -> Any:
    """Weights as large as those of a trained network, so that offsets are pixels and not zeros."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 1
        torch.nn.init.normal_(parameter, std=(1 / fan) ** 0.5 if parameter.dim() > 1 else 0.1)
    return model.eval()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_one_convolution_is_one_node(masked: bool, bias: bool) -> None:
    layer = scattered(DeformConv2d(6, 4, padding=2, dilation=2, offset_groups=3, bias=bias))
    inputs = (torch.randn(2, 6, 9, 7), torch.randn(2, 54, 9, 7), torch.rand(2, 27, 9, 7))[: 3 if masked else 2]
    graph = exported(layer, inputs)
    assert operators(graph) == ["DeformConv"]
    with torch.no_grad():
        # Sums of 54 products in another order.
        np.testing.assert_allclose(run(graph, inputs), layer(*inputs), rtol=1e-4, atol=1e-5)
