"""Graphs with our kernel's nodes compute what the standard graphs compute: packed weights, order of inputs, types.

The fused node is evaluated from its settings and its packed weights by plain NumPy-and-PyTorch arithmetic; everything
else of the rewritten graph by ONNX's own reference. The original runs in ONNX Runtime. The kernel itself is judged
elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import torch  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402

from engines.layers.deform_conv import DeformConv2d, deform_conv2d_reference  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.plugins.deform_conv.packing import pack_indices  # noqa: E402
from engines.plugins.deform_conv.settings import DOMAIN, operator_name, parse_settings  # noqa: E402
from engines.plugins.deform_conv.spec import DeformConvSpec  # noqa: E402
from export.graph.deform_fusion import fuse  # noqa: E402
from export.graph.operators import TRANSLATIONS  # noqa: E402
from export.precision.fp16 import to_fp16  # noqa: E402

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SMALL = HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)
HERE = Path()


class Head(torch.nn.Module):
    """What has deformable layers: the head, of one window of maps."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *window: Any) -> Any:
        return self.model.head(window)


def exported(model: Any, maps: Sequence[tuple[int, ...]]) -> Any:
    """The head as ONNX, its weights as large as a trained network's, so that offsets are pixels and not zeros."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 1
        torch.nn.init.normal_(parameter, std=(1 / fan) ** 0.5 if parameter.dim() > 1 else 0.1)
    names = [f"maps_{i}" for i in range(len(maps))]
    program = torch.onnx.export(
        Head(model).eval(),
        tuple(torch.zeros(shape) for shape in maps),
        dynamo=True,
        opset_version=20,
        custom_translation_table=TRANSLATIONS,
        input_names=names,
        verbose=False,
    )
    memory = io.BytesIO()
    program.save(memory)
    return onnx.load_from_string(memory.getvalue())


@dataclass
class Exported:
    """The head of a network in PyTorch and as ONNX."""

    name: str
    model: Any
    graph: Any


MODELS = {
    "dcpose": (lambda: DCPose(SMALL, channels=8), [(1, 3, 17, 16, 12)]),
    "fami": (lambda: FAMIPose(SMALL, (-1, 0)), [(1, 2, 24, 16, 12)]),
    "tdmi": (lambda: TDMI(SMALL), [(1, 5, 24, 16, 12)] * 4),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param("dcpose", marks=pytest.mark.slow), "fami", pytest.param("tdmi", marks=pytest.mark.large)],
)
def head(request: pytest.FixtureRequest) -> Exported:
    make, maps = MODELS[request.param]
    model = make()
    return Exported(request.param, model, exported(model, maps))


def evaluator(spec: DeformConvSpec) -> type[OpRun]:
    """The operator of ``spec`` for ONNX's reference."""

    class Fused(OpRun):
        op_domain = DOMAIN

        def _run(self, *inputs: Any, settings: str = "", **_: Any) -> tuple[Any]:
            return (
                fused_in_numbers(
                    parse_settings(settings), dict(zip(parse_settings(settings).inputs, inputs, strict=True))
                ),
            )

    Fused.__name__ = operator_name(spec)
    return Fused


def fused_in_numbers(spec: DeformConvSpec, given: dict[str, Any]) -> Any:
    """The kernel's equation from what the kernel is given; sums in float32, as in the kernel."""
    kinds = {"fp32": np.float32, "fp16": np.float16}
    assert given["x"].dtype == given["weight"].dtype == kinds[spec.dtype]
    flat = np.zeros(spec.rounds * spec.out_channels * spec.channels * spec.points + 1, np.float32)
    flat[pack_indices(spec)] = given["weight"]
    weights = flat[:-1].reshape(spec.rounds, spec.out_channels, spec.channels, *spec.kernel)
    floats = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in given.items()}
    total = floats["bias"].reshape(1, -1, 1, 1)
    for r, (dilation, padding) in enumerate(zip(spec.dilations, spec.pads, strict=True)):
        assert given[f"offset{r}"].dtype == np.float32
        total = total + deform_conv2d_reference(
            floats["x"],
            floats[f"offset{r}"],
            floats.get(f"mask{r}"),
            torch.from_numpy(weights[r]),
            None,
            (spec.stride, spec.stride),
            (padding, padding),
            (dilation, dilation),
            spec.offset_groups,
        )
    activated = {"none": lambda y: y, "relu": torch.relu, "leaky_relu": lambda y: torch.where(y < 0, spec.slope * y, y)}
    return activated[spec.activation](total).numpy().astype(kinds[spec.dtype])


def by_onnx_runtime(model: Any, feeds: dict[str, Any]) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def by_reference(model: Any, specs: tuple[DeformConvSpec, ...], feeds: dict[str, Any]) -> Any:
    operators = {operator_name(spec): evaluator(spec) for spec in specs}
    return ReferenceEvaluator(model, new_ops=list(operators.values())).run(None, feeds)[0]


def drawn(model: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)
    kinds = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
    return {
        entry.name: random.standard_normal([d.dim_value for d in entry.type.tensor_type.shape.dim]).astype(
            kinds[entry.type.tensor_type.elem_type]
        )
        for entry in model.graph.input
    }


def fused(model: Any) -> tuple[Any, tuple[DeformConvSpec, ...]]:
    changed = onnx.shape_inference.infer_shapes(model)
    return changed, fuse(changed, HERE)


def left(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type == "DeformConv"]


# Of those that TensorRT's parser imports (its list of operators, since 8.5; DeformConv since 10.1), what heads use.
IMPORTED = """
Abs Add And ArgMax Cast Clip Concat Conv DeformConv Div Einsum Equal Expand Flatten Floor Gather GatherElements GatherND
Gemm Greater GridSample Identity Less MatMul Max Min Mul Neg Pow ReduceMax ReduceMean ReduceSum Relu Reshape Resize
Shape Sigmoid Sign Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""


@pytest.mark.slow
def test_the_exported_head_gives_the_heatmaps_of_pytorch(head: Exported) -> None:
    onnx.checker.check_model(head.graph)
    deformable = [node for node in head.graph.graph.node if node.op_type == "DeformConv"]
    assert len(deformable) == sum(isinstance(layer, DeformConv2d) for layer in head.model.modules())
    feeds = drawn(head.graph)
    with torch.no_grad():
        wanted = head.model.head(tuple(map(torch.from_numpy, feeds.values()))).numpy()
    # float32 through some twenty layers, of the largest value.
    assert np.abs(by_onnx_runtime(head.graph, feeds) - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_every_operator_of_a_head_is_one_that_tensorrt_imports(head: Exported) -> None:
    assert {node.op_type for node in head.graph.graph.node} <= set(IMPORTED.split())


def test_a_head_with_fused_nodes_gives_the_same_in_float32(head: Exported) -> None:
    name, model = head.name, head.graph
    changed, specs = fused(model)
    assert not left(changed)
    assert [spec.dilations for spec in specs] == {"dcpose": [(3, 6, 9, 12, 15)], "fami": [(3,)]}.get(
        name, [spec.dilations for spec in specs]
    )
    feeds = drawn(model)
    wanted = by_onnx_runtime(model, feeds)
    # float32 through some twenty layers, each adding up in another order.
    assert np.abs(by_reference(changed, specs, feeds) - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_a_head_with_fused_nodes_gives_the_same_in_float16(head: Exported) -> None:
    model = head.graph
    half = to_fp16(model)
    changed, specs = fused(half)
    assert not left(changed)
    feeds = drawn(half)
    whole = by_onnx_runtime(model, {name: value.astype(np.float32) for name, value in feeds.items()})
    wanted = by_onnx_runtime(half, feeds)
    got = by_reference(changed, specs, feeds)
    # Both round to 11 bits at other places: neither may be farther from float32 than three times the other.
    scale = np.abs(whole).max()
    assert np.abs(got - whole).max() <= max(3 * np.abs(wanted - whole).max(), 1e-3 * scale)


def graph(nodes: list[Any], weights: dict[str, Any], outputs: list[tuple[str, int]], kind: int = 1) -> Any:
    """A graph of ``x`` (1, 4, 6, 5) and its maps, for kernels of 3 × 3."""
    inputs = [("x", [1, 4, 6, 5], kind), ("offset", [1, 18, 6, 5], 1), ("mask", [1, 9, 6, 5], 1)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info(name, kind, shape) for name, shape, kind in inputs],
                [helper.make_tensor_value_info(name, kind, [1, 3, 6, 5]) for name, kind in outputs],
                [numpy_helper.from_array(value, name) for name, value in weights.items()],
            ),
            opset_imports=[helper.make_operatorsetid("", 20)],
            ir_version=10,
        )
    )


def conv(output: str, dilation: int = 1, **attributes: Any) -> Any:
    inputs = ["x", f"weight_{output}", "offset", f"bias_{output}", "mask"]
    result = {"pads": [dilation] * 4, "dilations": [dilation] * 2, "strides": [1, 1]} | attributes
    return helper.make_node("DeformConv", inputs, [output], name=f"conv_{output}", **result)


def weights(*outputs: str) -> dict[str, Any]:
    random = np.random.default_rng(1)
    made: dict[str, Any] = {}
    for output in outputs:
        made[f"weight_{output}"] = random.standard_normal((3, 4, 3, 3)).astype(np.float32)
        made[f"bias_{output}"] = random.standard_normal(3).astype(np.float32)
    return made


def agree(model: Any, changed: Any, specs: tuple[DeformConvSpec, ...]) -> None:
    feeds = drawn(model)
    # One layer of 36 products, or two added.
    np.testing.assert_allclose(by_reference(changed, specs, feeds), by_onnx_runtime(model, feeds), rtol=1e-4, atol=1e-5)


ACTIVATIONS = [
    ("Relu", {}, "relu", 0.0),
    ("LeakyRelu", {"alpha": 0.25}, "leaky_relu", 0.25),
    ("LeakyRelu", {}, "leaky_relu", 0.01),
]


@pytest.mark.parametrize(("operator", "attributes", "name", "slope"), ACTIVATIONS)
def test_the_activation_behind_a_sum_becomes_part_of_the_node(
    operator: str, attributes: dict[str, float], name: str, slope: float
) -> None:
    nodes = [
        conv("a"),
        conv("b", 2),
        helper.make_node("Add", ["b", "a"], ["sum"], name="add"),
        helper.make_node(operator, ["sum"], ["y"], name="act", **attributes),
    ]
    model = graph(nodes, weights("a", "b"), [("y", 1)])
    changed, specs = fused(model)
    ((spec),) = specs
    assert (spec.dilations, spec.activation) == ((2, 1), name)
    assert spec.slope == pytest.approx(slope)
    assert [node.op_type for node in changed.graph.node] == ["FusedDeformConv2Modulated"]
    agree(model, changed, specs)


def test_a_convolution_that_someone_else_reads_too_stays_apart() -> None:
    nodes = [conv("a"), conv("b", 2), helper.make_node("Add", ["a", "b"], ["y"], name="add")]
    model = graph(nodes, weights("a", "b"), [("y", 1), ("a", 1)])
    changed, specs = fused(model)
    assert [spec.dilations for spec in specs] == [(1,), (2,)]
    agree(model, changed, specs)


def test_only_convolutions_of_one_input_are_added_up() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["minus"], name="neg"),
        conv("a"),
        conv("b"),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    nodes[2].input[0] = "minus"
    model = graph(nodes, weights("a", "b"), [("y", 1)])
    changed, specs = fused(model)
    assert len(specs) == 2
    agree(model, changed, specs)


def test_the_same_convolution_added_to_itself_is_not_taken_for_two() -> None:
    nodes = [conv("a"), helper.make_node("Add", ["a", "a"], ["y"], name="add")]
    model = graph(nodes, weights("a"), [("y", 1)])
    changed, specs = fused(model)
    assert [spec.dilations for spec in specs] == [(1,)]
    agree(model, changed, specs)


UNFIT = [
    pytest.param({"pads": [1, 0, 1, 2]}, {}, id="lopsided padding"),
    pytest.param({"group": 2}, {"weight_a": np.zeros((3, 2, 3, 3), np.float32)}, id="groups"),
]


@pytest.mark.parametrize(("attributes", "others"), UNFIT)
def test_what_the_kernel_does_not_compute_stays_as_it_is(attributes: Any, others: Any) -> None:
    model = graph([conv("a", **attributes)], weights("a") | others, [("a", 1)])
    before = model.SerializeToString()
    assert fuse(model, HERE) == ()
    assert model.SerializeToString() == before


def test_in_float16_casts_vanish_and_only_offsets_stay_float32() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["x32"], name="in", to=1),
        conv("a"),
        helper.make_node("Cast", ["a"], ["y"], name="out", to=TensorProto.FLOAT16),
    ]
    nodes[1].input[0] = "x32"
    model = graph(nodes, weights("a"), [("y", TensorProto.FLOAT16)], TensorProto.FLOAT16)
    changed, (spec,) = fused(model)
    (node,) = [node for node in changed.graph.node if node.domain == DOMAIN]
    assert list(node.input[:3]) == ["x", "offset", "mask"]
    assert (spec.dtype, spec.mask) == ("fp16", "fp32")
    assert node.output[0] == "y"


def test_a_result_that_stays_float32_keeps_the_kernel_in_float32() -> None:
    nodes = [helper.make_node("Cast", ["x"], ["x32"], name="in", to=1), conv("a")]
    nodes[1].input[0] = "x32"
    model = graph(nodes, weights("a"), [("a", 1)], TensorProto.FLOAT16)
    changed, (spec,) = fused(model)
    assert spec.dtype == "fp32"
    assert [node.op_type for node in changed.graph.node] == ["Cast", "FusedDeformConv1Modulated"]


def test_the_node_names_its_plugin_as_tensorrt_looks_for_it() -> None:
    changed, _ = fused(graph([conv("a")], weights("a"), [("a", 1)]))
    (node,) = changed.graph.node
    result = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    assert (node.domain, result["plugin_namespace"], result["plugin_version"], result["aot"]) == (
        DOMAIN,
        b"posestream",
        b"1",
        1,
    )
    assert parse_settings(result["settings"].decode()).dilations == (1,)
