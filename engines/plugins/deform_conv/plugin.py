"""The kernel as a TensorRT plugin, compiled ahead of time: the engine contains its PTX and runs without posestream.

TensorRT's *quickly deployable* plugins (10.9 and later) are functions: the shape of the output (``register``), the
supported types (``autotune``), and the kernel with its launch (``aot_impl``). Their rules, from the Python sources of
10.13 and 11.4:

* the number of inputs is fixed, so there is one plugin for each number of dilations, with modulation and without. The
  functions are the same; only their signatures differ, which TensorRT reads with ``inspect.signature``;
* annotations are read as objects: this module must not import ``annotations`` from ``__future__``;
* the launch is given as symbolic integers, since the batch is open; parameters of the kernel are input pointers, then
  int32s, then output pointers, which is the order of ``spec.arguments``.
"""

import inspect
from typing import Any, List, Tuple, Union  # noqa: UP035 - TensorRT compares with these

import tensorrt as trt
import tensorrt.plugin as trtp

from engines.plugins.deform_conv.compiler import compile_ptx
from engines.plugins.deform_conv.settings import DOMAIN, operator_name, parse_settings
from engines.plugins.deform_conv.spec import MAX_DILATIONS, DeformConvSpec, output_side, plan_launch

TACTIC = 1
"""The only one: weights are packed for one tiling. TensorRT requires a positive number."""

_TYPES = {"fp32": trt.DataType.FLOAT, "fp16": trt.DataType.HALF, "bf16": trt.DataType.BF16}
_NAMES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
_AotResult = Tuple[Union[str, bytes], Union[str, bytes], trtp.KernelLaunchParams, trtp.SymExprs]  # noqa: UP006, UP007

# Registrations last as long as the process, in TensorRT's own registry; so does the architecture.
_registered: set[str] = set()
_architecture = "sm_80"


def register(architecture: str) -> tuple[str, ...]:
    """Register all plugins, once, and return their names; kernels are compiled for ``architecture`` (``sm_90``)."""
    global _architecture
    _architecture = architecture
    for shape in shapes():
        if operator_name(shape) not in _registered:
            _define(shape, lazily=False)
            _registered.add(operator_name(shape))
    return tuple(sorted(_registered))


def shapes() -> tuple[DeformConvSpec, ...]:
    """One spec for each list of inputs; there is a plugin for each."""
    return tuple(
        DeformConvSpec(channels=16, out_channels=16, dilations=tuple(range(1, rounds + 1)), mask=mask)
        for rounds in range(1, MAX_DILATIONS + 1)
        for mask in ("fp16", "none")
    )


def _define(shape: DeformConvSpec, *, lazily: bool) -> None:
    """Register the plugin of the inputs of ``shape``."""
    name = f"{DOMAIN}::{operator_name(shape)}"
    trtp.register(name, lazy_register=lazily)(_make_describe(shape))
    trtp.autotune(name)(_make_offer(shape))
    trtp.aot_impl(name)(_make_compile(shape))


def _make_describe(shape: DeformConvSpec) -> Any:
    def describe(*tensors: trtp.TensorDesc, settings: str) -> trtp.TensorDesc:
        """(N, O, oh, ow), of the type of x."""
        spec, x = parse_settings(settings), tensors[0]
        n, _, height, width = x.shape_expr
        sides = (output_side(spec, height, 0), output_side(spec, width, 1))
        return trtp.from_shape_expr((n, spec.out_channels, *sides), x.dtype)

    return _set_signature(describe, [*_tensors(shape), _SETTINGS], trtp.TensorDesc)


def _make_offer(shape: DeformConvSpec) -> Any:
    def offer(*arguments: Any) -> List[trtp.AutoTuneCombination]:  # noqa: UP006
        """One combination of types, all of them linear: the one the weights are packed for."""
        return [type_combination(parse_settings(arguments[len(shape.inputs)]))]

    parameters = [*_tensors(shape), _SETTINGS, _OUTPUTS]
    return _set_signature(offer, parameters, List[trtp.AutoTuneCombination])  # noqa: UP006


def _make_compile(shape: DeformConvSpec) -> Any:
    def compile_kernel(*arguments: Any) -> _AotResult:
        """The kernel and its launch for any batch."""
        spec = parse_settings(arguments[len(shape.inputs)])
        parameters, integers = launch_parameters(spec, arguments[0])
        # NVRTC ends its text with a NUL, which the length does not count.
        return spec.entry, compile_ptx(spec, _architecture).rstrip(b"\0").decode(), parameters, integers

    return _set_signature(compile_kernel, [*_tensors(shape), _SETTINGS, _OUTPUTS, _TACTIC_ARGUMENT], _AotResult)


def type_combination(spec: DeformConvSpec) -> trtp.AutoTuneCombination:
    """The types of ``spec.inputs`` and of the output."""
    types = {"x": spec.dtype, "weight": spec.dtype, "bias": "fp32"}
    each = [types.get(name) or (spec.mask if name.startswith("mask") else "fp32") for name in spec.inputs]
    return trtp.AutoTuneCombination(",".join(_NAMES[dtype] for dtype in (*each, spec.dtype)), "LINEAR", [TACTIC])


def launch_parameters(spec: DeformConvSpec, x: trtp.TensorDesc) -> tuple[trtp.KernelLaunchParams, trtp.SymExprs]:
    """Grid, block and integers of the kernel, for an ``x`` of any size."""
    n, _, height, width = x.shape_expr
    plan = plan_launch(spec, n, height, width)
    parameters = trtp.KernelLaunchParams()
    parameters.grid_x, parameters.grid_y, parameters.grid_z = plan.grid
    parameters.block_x = plan.block
    parameters.shared_mem = plan.shared_bytes
    return parameters, trtp.SymIntExprs.from_tuple(tuple(map(trtp.SymInt32, plan.integers)))


def _tensors(shape: DeformConvSpec) -> list[inspect.Parameter]:
    return [_parameter(name, trtp.TensorDesc) for name in shape.inputs]


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


def _set_signature(function: Any, parameters: list[inspect.Parameter], returned: Any) -> Any:
    """``function`` with the signature that TensorRT reads."""
    function.__signature__ = inspect.Signature(parameters, return_annotation=returned)
    return function


_SETTINGS = _parameter("settings", str)
_OUTPUTS = _parameter("outputs", Tuple[trtp.TensorDesc])  # noqa: UP006
_TACTIC_ARGUMENT = _parameter("tactic", int)
