"""Exports a PyTorch module as standard ONNX: any batch, optimised, checked, without traces of where it was made."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch

from engines.errors import EngineError, first_line
from export.graph.folding import fold_normalisations
from export.graph.operators import TRANSLATIONS
from export.graph.wrappers import Graph

OPSET = 20
MAX_BATCH = 4096
"""Upper bound of the batch, which the exporter requires."""
BATCH = "batch"


def check_opset(opset: int) -> None:
    """Raise :class:`EngineError` unless networks can be exported in ``opset``."""
    newest = onnx.defs.onnx_opset_version()
    if opset < OPSET:
        raise EngineError(
            f"--opset {opset}: deformable convolution exports into opsets below 19 without an error but cannot be "
            f"loaded, and sampling by a grid changed with 20; give {OPSET} or more"
        )
    if opset > newest:
        raise EngineError(f"--opset {opset}: onnx {onnx.__version__} supports opsets up to {newest}; give at most that")


def to_onnx(graph: Graph, opset: int = OPSET) -> onnx.ModelProto:
    """The graph with its weights inside. Raises :class:`EngineError` if it cannot be exported for any batch."""
    check_opset(opset)
    try:
        with _silence_exporter(), torch.no_grad():
            model = _trace(graph, opset)
    except Exception as error:
        if isinstance(error, (MemoryError, EngineError)):
            raise
        raise EngineError(f"part {graph.part}: PyTorch cannot export it: {first_line(error)}") from error
    _strip(model)
    fold_normalisations(model)
    _add_missing_biases(model)
    onnx.checker.check_model(model, full_check=True)
    _check_batch(graph, model)
    return model


def _trace(graph: Graph, opset: int) -> onnx.ModelProto:
    batch = torch.export.Dim(BATCH, min=1, max=MAX_BATCH)
    shapes = tuple({0: batch} for _ in graph.example)
    arguments: tuple[Any, ...] = (tuple(graph.example),) if graph.takes_tuple else tuple(graph.example)
    # A separate step, since the converter silently falls back to a fixed batch where this raises.
    program = torch.export.export(
        graph.module, arguments, dynamic_shapes=(shapes,) if graph.takes_tuple else shapes, strict=False
    )
    converted = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        custom_translation_table=TRANSLATIONS,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        verbose=False,
        optimize=True,
    )
    assert converted is not None  # with dynamo=True
    return converted.model_proto


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the exporter's logs, warnings and output, but not its exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what PyTorch adds to each node (its own names, stack traces with folders) and stale shapes."""
    model.producer_name, model.producer_version = "posestream", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del entry.metadata_props[:]
        entry.doc_string = ""


def _add_missing_biases(model: onnx.ModelProto) -> None:
    """Add zeros to every DeformConv without a bias: TensorRT's parser fails if it is missing beside a mask."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DeformConv" and (len(node.input) < 4 or not node.input[3]):
            outputs = shapes[node.input[1]][0]
            name = f"no_bias_{outputs}"
            _add_zeros(model.graph, name, outputs)
            _set_input(node, 3, name)


def _add_zeros(graph: onnx.GraphProto, name: str, size: int) -> None:
    if all(tensor.name != name for tensor in graph.initializer):
        graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [size], [0.0] * size))


def _set_input(node: onnx.NodeProto, index: int, name: str) -> None:
    inputs = list(node.input)
    inputs += [""] * (index + 1 - len(inputs))
    inputs[index] = name
    del node.input[:]
    node.input.extend(inputs)


def _check_batch(graph: Graph, model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        first = tensor.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise EngineError(
                f"part {graph.part}: its {tensor.name} has a fixed batch of {first.dim_value}; the network "
                "uses the batch as a constant, so export it without that"
            )
