"""Half precision stands where it suffices, coordinates stay whole, and nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from export.graph.editing import copy_proto  # noqa: E402
from export.precision.fp16 import find_float32_nodes, measure_sizes, to_fp16  # noqa: E402
from export.precision.rounding import round_float16  # noqa: E402
from export.precision.wiring import Wiring  # noqa: E402

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


class Typed:
    """A graph with the type of every tensor."""

    def __init__(self, model: Any) -> None:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self.nodes = graph.node
        self.types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for entry in (*graph.input, *graph.output, *graph.value_info):
            self.types[entry.name] = entry.type.tensor_type.elem_type
        self.producer = {name: node for node in graph.node for name in node.output}

    def of(self, operator: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type == operator]

    def back_to_convolution(self, name: str) -> list[Any]:
        """All nodes between a tensor and the convolutions it comes from, these included."""
        node = self.producer.get(name)
        if node is None or node.op_type == "Conv":
            return [] if node is None else [node]
        return [node, *(found for read in node.input for found in self.back_to_convolution(read))]


def halves(small: Any, name: str, part: str) -> Typed:
    return Typed(to_fp16(small(name)[part]))


def rounded_alike(model: Any) -> float:
    """What float16 may cost, as a share of the largest value: a node rounds by at most 2^-11 of what it makes, and here
    all nodes on the longest way round the same way, and none shrinks what came before."""
    depth: dict[str, int] = {}
    for node in model.graph.node:
        depth |= dict.fromkeys(node.output, 1 + max((depth.get(name, 0) for name in node.input), default=0))
    return float(depth["heatmaps"] * 2**-11)


def convolution(weight: float, *, then: float | None = None) -> Any:
    """``x -> · weight [-> · then] -> · 1 -> y``: 1x1 convolutions of one channel."""
    factors = [weight, *([] if then is None else [then]), 1.0]
    names = ["x", *(f"v{i}" for i in range(1, len(factors))), "y"]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], name=f"conv{i}") for i in range(len(factors))
    ]
    weights = [numpy_helper.from_array(np.full((1, 1, 1, 1), w, np.float32), f"w{i}") for i, w in enumerate(factors)]
    ends = [helper.make_tensor_value_info(name, FLOAT, ["N", 1, 4, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


ONES = {"x": np.ones((1, 1, 4, 4), np.float32)}


@pytest.mark.slow
def test_inputs_and_outputs_keep_their_types(small: Any) -> None:
    graph = to_fp16(small("fami")["fused"]).graph
    types = {entry.name: entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)}
    assert types == {"crops": TensorProto.UINT8, "points": FLOAT, "heatmaps": FLOAT}


@pytest.mark.slow
def test_maps_kept_between_the_halves_are_float16(small: Any) -> None:
    kept = [*to_fp16(small("fami")["backbone"]).graph.output, *to_fp16(small("fami")["head"]).graph.input]
    assert [(entry.name, entry.type.tensor_type.elem_type) for entry in kept] == [("maps_0", HALF)] * 2


@pytest.mark.slow
def test_all_of_a_backbone_but_its_pixels_is_float16(small: Any) -> None:
    typed = halves(small, "fami", "backbone")
    assert {typed.types[node.input[1]] for node in typed.of("Conv")} == {HALF}
    kept = find_float32_nodes(Wiring(copy_proto(small("fami")["backbone"])))
    assert set(kept.values()) == {"pixels", "operator"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fami", "dcpose", pytest.param("tdmi", marks=pytest.mark.large)])
def test_offsets_are_float32_from_the_last_convolution_on(small: Any, name: str) -> None:
    typed = halves(small, name, "head")
    assert typed.of("DeformConv")
    for node in typed.of("DeformConv"):
        assert {typed.types[read] for read in node.input} == {FLOAT}
        way = typed.back_to_convolution(node.input[2])
        assert [step.op_type for step in way].count("Cast") == 0
        assert {typed.types[step.output[0]] for step in way} == {FLOAT}


@pytest.mark.slow
def test_a_sampling_grid_is_float32_from_the_last_convolution_on(small: Any) -> None:
    typed = halves(small, "fami", "head")
    (sampler,) = typed.of("GridSample")
    way = typed.back_to_convolution(sampler.input[1])
    assert {"Gemm", "Einsum"} <= {step.op_type for step in way}
    assert "Cast" not in {step.op_type for step in way}
    assert typed.types[sampler.input[1]] == FLOAT


@pytest.mark.slow
def test_masks_are_float16_until_they_are_used(small: Any) -> None:
    typed = halves(small, "fami", "head")
    (node,) = typed.of("DeformConv")
    cast, sigmoid, convolution = typed.back_to_convolution(node.input[4])
    assert [cast.op_type, sigmoid.op_type] == ["Cast", "Sigmoid"]
    assert typed.types[convolution.input[1]] == typed.types[sigmoid.output[0]] == HALF


@pytest.mark.slow
def test_an_island_casts_each_input_once_and_its_output_once(small: Any) -> None:
    typed = halves(small, "fami", "head")
    (node,) = typed.of("DeformConv")
    (sampler,) = typed.of("GridSample")
    assert node.input[0] == sampler.output[0]  # both are float32: nothing is rounded between them
    assert [step.op_type for step in typed.nodes if node.output[0] in step.input] == ["Cast"]
    cast = [tuple(step.input) for step in typed.of("Cast")]
    assert len(cast) == len(set(cast))


@pytest.mark.slow
def test_sums_of_deformable_convolutions_stay_with_them(small: Any) -> None:
    typed = halves(small, "dcpose", "head")
    deformed = {node.output[0] for node in typed.of("DeformConv")}
    sums = [node for node in typed.of("Add") if deformed.intersection(node.input)]
    assert len(deformed) == 5
    assert len(sums) == 4
    assert {typed.types[node.output[0]] for node in sums} == {FLOAT}


@pytest.mark.slow
def test_heatmaps_are_decoded_from_sums_that_were_never_rounded(small: Any) -> None:
    typed = halves(small, "fami", "fused")
    (highest,) = typed.of("ArgMax")
    way = typed.back_to_convolution(highest.input[0])
    assert way[-1].op_type == "Conv"
    assert "Cast" not in {step.op_type for step in way}
    assert typed.types[way[-1].input[1]] == FLOAT


@pytest.mark.slow
def test_the_graph_given_is_left_as_it_is(small: Any) -> None:
    graph = small("fami")["head"]
    before = graph.SerializeToString()
    to_fp16(graph)
    assert graph.SerializeToString() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("fami", "fused"),
        pytest.param("dcpose", "fused", marks=pytest.mark.large),
        pytest.param("tdmi", "fused", marks=pytest.mark.large),
        pytest.param("hrnet", "fused", marks=pytest.mark.large),
    ],
)
def test_heatmaps_are_nearer_than_those_of_a_network_all_in_half(
    small: Any, crops: Any, run: Callable[..., Any], name: str, part: str
) -> None:
    from export.calibration import normalise

    network = small(name)
    feed = {"crops": crops(network.signature, 4)}
    wanted = run(network[part], feed)["heatmaps"]
    ours = run(round_float16(to_fp16(network[part], [feed])), feed)["heatmaps"]
    planes = torch.from_numpy(normalise(feed["crops"], network.signature))
    planes = planes if network.signature.keeps else planes[:, 0]
    with torch.no_grad():
        theirs = deepcopy(network.model).half()(planes.half()).float().numpy()
    # PyTorch rounds the same sums, and coordinates, offsets and the last convolution besides.
    assert np.square(ours - wanted).mean() <= np.square(theirs - wanted).mean()
    assert np.abs(ours - wanted).max() <= rounded_alike(network[part]) * np.abs(wanted).max()


@pytest.mark.slow
def test_onnx_runtime_runs_it_on_a_cpu(small: Any, crops: Any, run: Callable[..., Any]) -> None:
    network = small("fami")
    feed = {"crops": crops(network.signature)}
    wanted, found = run(network["fused"], feed), run(to_fp16(network["fused"]), feed)
    assert found["points"].dtype == np.float32
    # It computes in float32 what float16 kernels it lacks: only the weights are rounded. The bound is that of above.
    bound = rounded_alike(network["fused"]) * np.abs(wanted["heatmaps"]).max()
    assert np.abs(found["heatmaps"] - wanted["heatmaps"]).max() <= bound


def test_what_exceeds_float16_on_the_frames_given_stays_float32(run: Callable[..., Any]) -> None:
    chain = convolution(1e5 / 3, then=2.0 / 1e5)  # 3 in: 100,000 between, which float16 does not hold; 2 out
    feed = {"x": 3 * ONES["x"]}
    assert not np.isfinite(run(round_float16(to_fp16(chain)), feed)["y"]).any()
    wiring = Wiring(copy_proto(chain))
    kept = find_float32_nodes(wiring, measure_sizes(wiring, [feed]))
    assert {place: reason for place, reason in kept.items() if reason == "range"} == {0: "range", 1: "range"}
    # One weight is a float16: half of 2^-11 of the result.
    np.testing.assert_allclose(run(round_float16(to_fp16(chain, [feed])), feed)["y"], 2.0, rtol=2**-11)


@pytest.mark.parametrize("weight", [1e6, 1e-6])
def test_weights_beyond_float16_stay_float32_without_any_frames(run: Callable[..., Any], weight: float) -> None:
    chain = convolution(weight, then=1 / weight)
    kept = find_float32_nodes(Wiring(copy_proto(chain)))
    assert (kept[0], kept[1]) == ("range", "range")
    np.testing.assert_allclose(run(round_float16(to_fp16(chain)), ONES)["y"], 1.0, rtol=1e-5)  # all float32


def test_a_kept_map_beyond_float16_is_refused() -> None:
    chain = convolution(1e6)
    chain.graph.node[-1].output[0] = chain.graph.output[0].name = "maps_0"
    with pytest.raises(EngineError, match=r"^graph chain: cached map 'maps_0' exceeds float16 \(65504\) on the .*32$"):
        to_fp16(chain, [ONES])


def test_a_graph_that_is_not_float32_is_refused() -> None:
    twice = to_fp16(convolution(1.0, then=1.0))
    with pytest.raises(EngineError, match=r"^graph chain: tensor '.+' is float16; .*float32 graph; export that one$"):
        to_fp16(twice)


def test_a_graph_with_control_flow_is_refused() -> None:
    chain = convolution(1.0)
    result = helper.make_tensor_value_info("result", FLOAT, ["N", 1, 4, 4])
    body = helper.make_graph([helper.make_node("Identity", ["y"], ["result"])], "body", [], [result])
    chain.graph.node.append(helper.make_node("If", ["c"], ["z"], name="choice", then_branch=body, else_branch=body))
    chain.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    with pytest.raises(EngineError, match=r"^graph chain: node 'choice' \(If\) contains a graph of its own"):
        to_fp16(chain)


def test_weights_read_in_both_types_stand_twice_and_others_once() -> None:
    chain = convolution(1.5, then=1.0)
    chain.graph.node[2].input[1] = "w0"  # the last convolution, which is float32, shares the first one's weights
    types = {tensor.name: tensor.data_type for tensor in to_fp16(chain).graph.initializer}
    assert types == {"w0": HALF, "w1": HALF, "w0_fp32": FLOAT}
