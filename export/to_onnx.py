"""A graph of PyTorch as standard ONNX: for any number of people, optimised, checked, silent on where it was made."""

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
MOST_PEOPLE = 4096
"""Of one run. A bound only since the exporter asks for one."""
BATCH = "batch"


def check_opset(opset: int) -> None:
    """Raise :class:`EngineError` unless networks can be written down in ``opset``."""
    newest = onnx.defs.onnx_opset_version()
    if opset < OPSET:
        raise EngineError(
            f"--opset {opset}: deformable convolution exports without a word into opsets below 19 and cannot be loaded "
            f"then, and sampling by a grid changed with 20; give {OPSET} or more"
        )
    if opset > newest:
        raise EngineError(f"--opset {opset}: onnx {onnx.__version__} knows opsets up to {newest}; give one up to that")


def to_onnx(graph: Graph, opset: int = OPSET) -> onnx.ModelProto:
    """The graph with its weights inside. Raises :class:`EngineError` where it cannot be exported for any batch."""
    check_opset(opset)
    try:
        with _quiet(), torch.no_grad():
            model = _exported(graph, opset)
    except Exception as error:
        if isinstance(error, (MemoryError, EngineError)):
            raise
        raise EngineError(f"part {graph.part}: PyTorch cannot export it: {first_line(error)}") from error
    _strip(model)
    fold_normalisations(model)
    _give_biases(model)
    onnx.checker.check_model(model, full_check=True)
    _check_batch(graph, model)
    return model


def _exported(graph: Graph, opset: int) -> onnx.ModelProto:
    batch = torch.export.Dim(BATCH, min=1, max=MOST_PEOPLE)
    several = tuple({0: batch} for _ in graph.example)
    arguments: tuple[Any, ...] = (tuple(graph.example),) if graph.takes_several else tuple(graph.example)
    # Exported apart, since the converter falls back to a fixed batch without a word where this would raise.
    program = torch.export.export(
        graph.module, arguments, dynamic_shapes=(several,) if graph.takes_several else several, strict=False
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
    assert converted is not None  # it is, for dynamo=True
    return converted.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's words about itself are not the user's concern: what it says goes nowhere, what it raises does."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _strip(model: onnx.ModelProto) -> None:
    """Take off what PyTorch notes beside each node (names of its own, stack traces with folders) and stale shapes."""
    model.producer_name, model.producer_version = "posestream", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del entry.metadata_props[:]
        entry.doc_string = ""


def _give_biases(model: onnx.ModelProto) -> None:
    """A bias of zeros for every DeformConv without one: TensorRT's parser throws at a missing one beside a mask."""
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


def _set_input(node: onnx.NodeProto, place: int, name: str) -> None:
    given = list(node.input)
    given += [""] * (place + 1 - len(given))
    given[place] = name
    del node.input[:]
    node.input.extend(given)


def _check_batch(graph: Graph, model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        first = tensor.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise EngineError(
                f"part {graph.part}: its {tensor.name} holds for {first.dim_value} people only; something in the "
                "network takes the batch for a number"
            )
