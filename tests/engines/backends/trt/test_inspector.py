"""What an engine says of its layers, in the forms that the documentation of TensorRT 10 and 11 gives.

The samples are put together from those documents; no engine has been asked.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from engines.backends.trt.inspector import check_precision, count_layers, parse_layers
from engines.errors import EngineError

HALF_8 = "Channel major FP16 format where channel % 8 == 0"


def conv(words: dict[str, str], name: str = "conv_1", **more: Any) -> dict[str, Any]:
    tensor = {"Name": "x", "Dimensions": [1, 48, 96, 72], **words}
    return {
        "Name": f"{name} + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [tensor],
        "Outputs": [tensor],
        "TacticName": "",
        "Metadata": f"[ONNX Layer: {name}]\u001e[ONNX Layer: relu]",
        **more,
    }


def engine(*layers: Any, version: int = 10) -> str:
    interface = (
        {"Bindings": ["crops", "points"]}
        if version == 10
        else {
            "I/O Tensors": [
                {
                    "Name": "crops",
                    "IOMode": "Input",
                    "DataType": "Float",
                    "Dimensions": [1, 3, 8, 8],
                    "Location": "Device",
                    "IsShapeInferenceIO": False,
                    "ProfileInfo": [],
                }
            ]
        }
    )
    return json.dumps({"Layers": list(layers), **interface})


FORMS = [
    pytest.param(10, {"Format/Datatype": HALF_8}, "fp16", id="10 in words"),
    pytest.param(10, {"Format/Datatype": "Half"}, "fp16", id="10 by its name"),
    pytest.param(11, {"DataType": "Half", "Format": "kHWC8"}, "fp16", id="11 apart"),
    pytest.param(11, {"Format": HALF_8}, "fp16", id="11 as a format"),
    pytest.param(10, {"Format/Datatype": "Row major linear FP32"}, "fp32", id="fp32 in words"),
    pytest.param(11, {"DataType": "Float", "Format": "Row major linear FP32 format (kLINEAR)"}, "fp32", id="fp32"),
    pytest.param(
        10, {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}, "int8", id="int8"
    ),
    pytest.param(11, {"DataType": "BF16"}, "bf16", id="bf16"),
]


@pytest.mark.parametrize(("version", "words", "kind"), FORMS)
def test_the_type_of_a_layer_is_read_in_every_form(version: int, words: dict[str, str], kind: str) -> None:
    (layer,) = parse_layers(engine(conv(words), version=version))
    assert layer.types == {kind}
    assert layer.nodes == ("conv_1", "relu")
    check_precision([layer], {"conv_1": kind})


def test_weights_and_the_kernels_name_count_too() -> None:
    (by_weights,) = parse_layers(engine(conv({}, Weights={"Type": "Half", "Count": 9})))
    (by_kernel,) = parse_layers(engine(conv({}, TacticName="sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc")))
    assert by_weights.types == by_kernel.types == {"fp16"}
    (brain,) = parse_layers(engine(conv({}, TacticName="sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc")))
    assert brain.types == {"bf16", "fp32"}


def test_a_layer_in_another_type_is_named() -> None:
    layers = parse_layers(engine(conv({"DataType": "Float"}, "conv_7"), conv({"DataType": "Half"}, "conv_8")))
    expected = {"conv_7": "fp16", "conv_8": "fp16"}
    with pytest.raises(EngineError, match=r"requested precision: conv_7 in fp32, not fp16$"):
        check_precision(layers, expected)


def test_many_layers_in_another_type_are_named_in_part() -> None:
    layers = parse_layers(engine(*(conv({"DataType": "Float"}, f"conv_{i}") for i in range(8))))
    with pytest.raises(EngineError, match=r"conv_4 in fp32, not fp16 and 3 more$"):
        check_precision(layers, {f"conv_{i}": "fp16" for i in range(8)})


def test_a_layer_of_several_nodes_need_only_show_each_type_somewhere() -> None:
    mixed = conv({"DataType": "Half"}, "conv_1", Outputs=[{"DataType": "Float"}])
    check_precision(parse_layers(engine(mixed)), {"conv_1": "fp16", "relu": "fp32"})


def test_nothing_is_proven_where_no_layer_names_its_nodes() -> None:
    layers = parse_layers(engine(conv({"DataType": "Half"}, Metadata="")))
    with pytest.raises(EngineError, match=r"cannot be checked: none of its layers lists any of 1 ONNX nodes"):
        check_precision(layers, {"conv_1": "fp16"})
    check_precision(layers, {})


def test_an_engine_without_detail_is_refused() -> None:
    with pytest.raises(
        EngineError, match=r"only the names of its layers; build it again, with ProfilingVerbosity.DETAILED"
    ):
        parse_layers(engine("conv_1", "conv_2"))


@pytest.mark.parametrize("result", ["", "[]", "{}", "no json"])
def test_an_account_that_is_none_is_refused(result: str) -> None:
    with pytest.raises(EngineError, match="description of the engine cannot be read"):
        parse_layers(result)


def test_layers_are_counted_by_the_lowest_type() -> None:
    kinds = ("Half", "Half", "Float", "Int8", "Bool")
    layers = parse_layers(engine(*(conv({"DataType": kind}, f"conv_{i}") for i, kind in enumerate(kinds))))
    assert count_layers(layers) == {"fp16": 2, "fp32": 1, "int8": 1, "other": 1}
