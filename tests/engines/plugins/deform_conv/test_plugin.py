"""The plugin's registration, types and launches, through TensorRT's own Python, which runs without TensorRT.

What TensorRT does with them on a GPU is not seen here.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engines.errors import EngineError
from engines.plugins.deform_conv.settings import format_settings, kernel_digest, operator_name, parse_settings
from engines.plugins.deform_conv.spec import MAX_DILATIONS, DeformConvSpec, plan_launch
from tests.caches import cache_folder
from tests.tensorrt_api import VERSIONS, Bindings, bindings

# DCPose's five dilations of 17 channels; FAMI-Pose's one of 48; FaSRnet's, unmodulated; with a stride.
SPECS = (
    DeformConvSpec(channels=17, out_channels=17, offset_groups=17, dilations=(3, 6, 9, 12, 15), mask="fp32"),
    DeformConvSpec(channels=48, out_channels=48, offset_groups=12, dilations=(3,), activation="relu"),
    DeformConvSpec(channels=32, out_channels=64, dilations=(1,), mask="none", dtype="fp32"),
    DeformConvSpec(channels=16, out_channels=16, dilations=(1,), paddings=(1,), stride=2, mask="fp32", dtype="fp32"),
)
SHAPES = ((1, 96, 72), (7, 33, 20))

# Dimensions that are numbers, and an expression builder that computes: TensorRT's symbolic integers become plain ones.
SCRIPT = """
import json, sys
import tensorrt as trt
class Number:
    def __init__(self, value): self.value = value
    def is_constant(self): return True
    def is_size_tensor(self): return False
    def get_constant_value(self): return self.value
trt.IDimensionExpr = Number
OPERATIONS = {
    "SUM": lambda a, b: a + b, "SUB": lambda a, b: a - b, "PROD": lambda a, b: a * b, "MAX": max, "MIN": min,
    "FLOOR_DIV": lambda a, b: a // b, "CEIL_DIV": lambda a, b: -(-a // b),
}
class Builder:
    def constant(self, value): return Number(value)
    def operation(self, kind, a, b): return Number(OPERATIONS[kind.name](a.value, b.value))

import tensorrt.plugin as trtp
from tensorrt.plugin._tensor import ShapeExpr, ShapeExprs, SymIntExpr
from tensorrt.plugin._lib import QDP_REGISTRY
from engines.plugins.deform_conv import plugin
from engines.plugins.deform_conv.settings import operator_name, parse_settings

plugin.compile_ptx = lambda spec, architecture: b"// kernel for " + architecture.encode() + bytes(1)
for shape in plugin.shapes():
    plugin._define(shape, lazily=True)

TYPES = {"fp16": trt.float16, "bf16": trt.bfloat16, "fp32": trt.float32}
def tensor(shape, dtype):
    made = trtp.TensorDesc()
    made.dtype, made.shape_expr = dtype, ShapeExprs(len(shape))
    for i, size in enumerate(shape):
        made.shape_expr[i] = ShapeExpr(Number(size))
    made._immutable = True
    return made
def unknown(rank, dtype):
    made = trtp.TensorDesc()
    made.dtype, made.shape_expr, made._immutable = dtype, ShapeExprs(rank, _is_dummy=True), True
    return made

answers = []
for settings, (n, h, w) in json.loads(sys.argv[1]):
    # As TensorRT's parser hands text over: with a NUL at its end.
    settings += chr(0)
    spec = parse_settings(settings)
    defined = QDP_REGISTRY["posestream::" + operator_name(spec)]
    dtype = TYPES[spec.dtype]
    SymIntExpr._exprBuilder = None
    nothing_known = [unknown(1 if name in ("weight", "bias") else 4, dtype) for name in spec.inputs]
    early = defined.register_func(*nothing_known, settings=settings)
    SymIntExpr._exprBuilder = Builder()
    x = tensor((n, spec.channels, h, w), dtype)
    inputs = [x, *(tensor((n, 1, 1, 1), dtype) for _ in spec.inputs[1:])]
    output = defined.register_func(*inputs, settings=settings)
    (offered,) = defined.autotune_func(*inputs, settings, (output,))
    name, kernel, how, integers = defined.aot_impl_func(*inputs, settings, (output,), 1)
    number = lambda expression: expression._expr.value
    answers.append({
        "inputs": defined.input_tensor_names,
        "attributes": [list(defined.input_attrs), defined.aot_impl_attr_names, defined.autotune_attr_names],
        "early": [early.ndim, str(early.dtype)],
        "output": [number(size) for size in output.shape_expr], "dtype": str(output.dtype),
        "combinations": [
            [list(map(str, c.types)), list(map(str, c.layouts)), c.tactics] for c in offered._get_combinations()
        ],
        "name": name, "kernel": kernel, "is_params": type(how) is trtp.KernelLaunchParams,
        "grid": [number(how.grid_x), number(how.grid_y), number(how.grid_z)],
        "block": [number(how.block_x), number(how.block_y), number(how.block_z)],
        "shared": number(how.shared_mem),
        "integers": [number(one) for one in integers],
        "int32": all(isinstance(one, trtp.SymInt32) for one in integers),
    })
print(json.dumps(answers))
"""


# A registry that holds what it is given, and a node's settings as the parser hands them over.
REGISTER = """
import json, sys
import numpy as np
import tensorrt as trt
class Registry:
    def __init__(self): self.creators = {}
    def register_creator(self, creator, namespace=""): self.creators[namespace, creator.name] = creator; return True
    def get_creator(self, name, version, namespace=""): return self.creators[namespace, name]
registry = Registry()
trt.get_plugin_registry = lambda: registry
from engines.plugins.deform_conv import plugin
from engines.plugins.deform_conv.settings import operator_name, parse_settings
names, again = plugin.register("sm_75"), plugin.register("sm_90")
settings = sys.argv[1]
class Field:
    name, data = "settings", np.frombuffer(settings.encode() + bytes(1), np.uint8)
operator = operator_name(parse_settings(settings))
creator = registry.creators["posestream", operator]
request = trt.QuickPluginCreationRequest.STRICT_AOT
made = creator.create_plugin(operator, "posestream", [Field], trt.TensorRTPhase.BUILD, request)
ranks = [1 if name in ("weight", "bias") else 4 for name in parse_settings(settings).inputs]
kinds = made.get_output_data_types([trt.float16] * len(ranks), ranks)
print(json.dumps({
    "same": names == again, "names": names, "creators": len(registry.creators), "made": type(made).__name__,
    "kinds": list(map(str, kinds)), "fields": [[field.name, str(field.type)] for field in creator.field_names],
    "settings": made.attrs["settings"], "version": creator.plugin_version,
}))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def release(request: pytest.FixtureRequest) -> Bindings:
    return bindings(request.param, cache_folder(request, "tensorrt"))


@pytest.fixture(scope="module")
def answers(release: Bindings, root: Path) -> list[dict[str, Any]]:
    cases = [(format_settings(spec), shape) for spec in SPECS for shape in SHAPES]
    result = release.run(SCRIPT, json.dumps(cases), cwd=root)
    assert result.returncode == 0, result.stderr
    answered: list[dict[str, Any]] = json.loads(result.stdout.splitlines()[-1])
    return answered


def cases(answers: list[dict[str, Any]]) -> list[tuple[DeformConvSpec, tuple[int, int, int], dict[str, Any]]]:
    order = [(spec, shape) for spec in SPECS for shape in SHAPES]
    return [(spec, shape, answer) for (spec, shape), answer in zip(order, answers, strict=True)]


def test_tensorrt_takes_the_registration_with_the_inputs_in_the_kernels_order(answers: Any) -> None:
    for spec, _, answer in cases(answers):
        assert tuple(answer["inputs"]) == spec.inputs
        assert answer["attributes"] == [["settings"]] * 3


def test_the_symbolic_launch_is_the_launch_in_numbers(answers: Any) -> None:
    for spec, (n, h, w), answer in cases(answers):
        wanted = plan_launch(spec, n, h, w)
        assert tuple(answer["grid"]) == wanted.grid
        assert answer["block"] == [wanted.block, 1, 1]
        assert answer["shared"] == wanted.shared_bytes
        assert tuple(answer["integers"]) == wanted.integers
        assert answer["int32"]
        assert answer["is_params"]


def test_the_output_has_the_shape_of_the_convolution_and_the_type_of_x(answers: Any) -> None:
    for spec, (n, h, w), answer in cases(answers):
        assert answer["output"] == [n, spec.out_channels, *plan_launch(spec, n, h, w).integers[2:]]
        assert answer["dtype"] == {"fp16": "DataType.HALF", "fp32": "DataType.FLOAT"}[spec.dtype]
        assert answer["early"] == [4, answer["dtype"]]  # asked for before any size is known


def test_one_combination_of_types_is_offered_with_offsets_in_fp32(answers: Any) -> None:
    names = {"fp16": "DataType.HALF", "fp32": "DataType.FLOAT"}
    for spec, _, answer in cases(answers):
        ((types, layouts, tactics),) = answer["combinations"]
        by_input = dict(zip((*spec.inputs, "output"), types, strict=True))
        assert by_input["x"] == by_input["weight"] == by_input["output"] == names[spec.dtype]
        assert by_input["offset0"] == by_input["bias"] == "DataType.FLOAT"
        assert spec.mask == "none" or by_input["mask0"] == names[spec.mask]
        assert set(layouts) == {"TensorFormat.LINEAR"}
        assert tactics == [1]


def test_the_kernel_goes_into_the_plan_as_text_for_the_architecture(answers: Any) -> None:
    for spec, _, answer in cases(answers):
        assert answer["name"] == spec.entry
        assert answer["kernel"] == "// kernel for sm_80"


def test_all_plugins_are_registered_once_and_make_an_ahead_of_time_plugin_of_a_node(
    release: Bindings, root: Path
) -> None:
    settings = format_settings(SPECS[1])
    answer = release.run(REGISTER, settings, cwd=root)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout.splitlines()[-1])
    assert result["same"]
    assert result["creators"] == len(result["names"]) == 2 * MAX_DILATIONS
    assert operator_name(SPECS[0]) in result["names"]
    assert (result["made"], result["version"]) == ("_TemplateAOTPlugin", "1")
    assert result["fields"] == [["settings", "PluginFieldType.CHAR"]]
    assert parse_settings(result["settings"]) == SPECS[1]
    assert result["kinds"] == ["DataType.HALF"]


def test_settings_survive_as_text() -> None:
    for spec in SPECS:
        assert parse_settings(format_settings(spec)) == spec
        assert parse_settings(f"{format_settings(spec)}\0") == spec  # as TensorRT's parser ends text


def test_settings_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match=r"plugin settings '\{\}': .*channels.*; export the network again"):
        parse_settings("{}")


def test_no_plugin_is_called_as_an_operator_of_onnx_is() -> None:
    defs = pytest.importorskip("onnx").defs
    standard = {schema.name for schema in defs.get_all_schemas()}
    assert not standard & {operator_name(spec) for spec in SPECS}


def test_kernels_are_distinguished_by_their_settings() -> None:
    digests = [kernel_digest(format_settings(spec)) for spec in SPECS]
    assert len(set(digests)) == len(SPECS)
    assert digests[0] == kernel_digest(f"{format_settings(SPECS[0])}\0")


def test_a_spec_has_nothing_that_text_cannot_hold() -> None:
    assert json.loads(format_settings(SPECS[0])).keys() == asdict(SPECS[0]).keys()
