"""Types of a graph's layers, and the error for a graph that does not run in the requested precision."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from engines.errors import EngineError  # noqa: E402
from engines.testing.costs import measure_cost  # noqa: E402
from export.precision.fp16 import to_fp16  # noqa: E402
from export.precision.inspection import check_precision, compute_shares, count_layers, list_layers  # noqa: E402
from tests.export.precision.conftest import CROP  # noqa: E402

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.slow
def test_multiplications_are_those_that_the_network_itself_counts(small: Any) -> None:
    network = small("fami")
    cost = measure_cost(network.model, CROP)
    counted = {part: sum(layer.macs for layer in list_layers(network[part])) / 1e9 for part in ("backbone", "head")}
    # Θ meets the grid in an einsum of a few thousand products, which is not counted; costs are rounded to a million.
    assert counted == pytest.approx({"backbone": cost.backbone_gmac, "head": cost.head_gmac}, abs=0.001)


@pytest.mark.slow
def test_every_layer_is_counted_in_the_type_it_runs_in(small: Any) -> None:
    found = count_layers(to_fp16(small("fami")["head"]))
    assert found["DeformConv", "float32"] == 1
    assert found["DeformConv", "float16"] == 0
    # Of the head's convolutions the last of offsets, of the global transformation and of heatmaps are float32.
    assert found["Conv", "float32"] == 3
    assert found["Conv", "float16"] > 10


def test_shares_add_up_to_one(small: Any) -> None:
    assert compute_shares(small("fami")["head"]) == {"float32": 1.0}
    assert sum(compute_shares(to_fp16(small("fami")["head"])).values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_graph_that_runs_in_something_else_is_refused(small: Any) -> None:
    graph = small("fami")["backbone"]
    convolutions = {layer.name for layer in list_layers(graph) if layer.macs}
    check_precision(to_fp16(graph), "float16", convolutions)
    with pytest.raises(
        EngineError,
        match=r"float16 was requested, but only 0 % of the multiplications .*\(Conv '.+' runs in float32\).*fp32$",
    ):
        check_precision(graph, "float16", convolutions)
