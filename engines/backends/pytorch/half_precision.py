"""Mixed precision: float16 where its 11 bits suffice, float32 where rounding would move keypoints.

The rules are those of an export's fp16 graphs, so that PyTorch runs the same network. Convolutions and matrix products
are float16, except

* those that compute coordinates: everything from the last convolution before the offsets of a deformable convolution or
  the grid of a sampler, and the samplers, which add offsets to positions;
* the last convolution before the points, since the argmax of rounded heatmaps is ambiguous;
* sums of many terms: softmax, group and layer normalisation, exponentials, logarithms, reductions.

Other operators have the dtype of their inputs. Unlike the export, this does not run the network to check that values
stay within float16's range (65504).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

PRODUCTS = frozenset({"conv2d", "convolution", "conv_transpose2d", "linear", "matmul", "mm", "bmm", "addmm", "einsum"})
CONVOLUTIONS = frozenset({"conv2d", "convolution", "conv_transpose2d"})

SAMPLERS = {"deform_conv2d": 1, "deform_conv2d_dilated": 1, "grid_sampler": 1}
"""Operators that sample a map, and the index of the argument with the coordinates."""

DEFORMED = frozenset({"deform_conv2d", "deform_conv2d_dilated"})
"""Samplers with weights; their arguments are map, offsets, masks, weights and biases."""

SUMS = frozenset({"softmax", "log_softmax", "group_norm", "layer_norm", "instance_norm", "sum", "mean", "var", "std"})
SUMS |= {"exp", "log", "pow", "sqrt", "rsqrt", "cumsum", "logsumexp"}

SHAPES = frozenset({"new_ones", "new_zeros", "new_full", "ones_like", "zeros_like", "sym_size"})
"""Operators that read the shape of a map and not its values."""

MAX_BATCH = 4096
"""An arbitrary bound, which the tracer requires."""


def to_mixed_precision(
    module: nn.Module, examples: tuple[Tensor, ...], *, deform_dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A copy of ``module`` in mixed precision, for any batch; ``examples`` have a batch of 2.

    Inputs and outputs keep their dtypes. ``deform_dtype`` is that of maps and weights of deformable convolutions:
    float16 only if the kernel takes float32 offsets with them, as posestream's does and PyTorch's does not.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    shapes = torch.export.ShapesCollection()
    for example in examples:
        shapes[example] = {0: batch}
    traced: Any = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False).module()
    precise = _find_coordinate_nodes(traced.graph) | _find_point_nodes(traced.graph)
    for node in list(traced.graph.nodes):
        if operator_name(node) == "_assert_tensor_metadata":  # it asserts the original dtypes
            traced.graph.erase_node(node)
        else:
            _retype(traced, node, is_precise=node in precise, deform_dtype=deform_dtype)
    traced.graph.lint()
    traced.recompile()
    return traced  # type: ignore[no-any-return]


def operator_name(node: fx.Node) -> str:
    """The operator's name, such as ``conv2d``; empty for nodes that compute nothing."""
    return getattr(node.target, "_opname", "") if node.op == "call_function" else ""


def _find_coordinate_nodes(graph: fx.Graph) -> set[fx.Node]:
    coordinates = [node.args[SAMPLERS[operator_name(node)]] for node in graph.nodes if operator_name(node) in SAMPLERS]
    return _trace_to_convolutions(_list_nodes(coordinates))


def _find_point_nodes(graph: fx.Graph) -> set[fx.Node]:
    """Nodes before the points; none in a backbone, whose maps are rounded anyway."""
    outputs = list(_list_nodes(next(node for node in graph.nodes if node.op == "output").args))
    decodes = any(operator_name(node) == "argmax" for node in graph.nodes)
    return _trace_to_convolutions(outputs) if decodes else set()


def _trace_to_convolutions(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """``nodes`` and their ancestors, back to and including the nearest convolution or sampler on each path."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            is_source = (
                operator_name(node) in CONVOLUTIONS or operator_name(node) in SAMPLERS or operator_name(node) in SHAPES
            )
            waiting += [] if is_source else node.all_input_nodes
    return found


def _list_nodes(argument: Any) -> Iterator[fx.Node]:
    if isinstance(argument, fx.Node):
        yield argument
    elif isinstance(argument, list | tuple):
        for entry in argument:
            yield from _list_nodes(entry)


def _retype(traced: Any, node: fx.Node, *, is_precise: bool, deform_dtype: torch.dtype) -> None:
    """Cast the arguments of ``node`` to the dtype in which it computes."""
    name = operator_name(node)
    if name in PRODUCTS:
        _cast_inputs(traced, node, node.all_input_nodes, torch.float32 if is_precise else torch.float16)
    elif name in DEFORMED:
        x, offsets, masks, *weights = node.args[:5]
        _cast_inputs(traced, node, _list_nodes([offsets, masks]), torch.float32)
        _cast_inputs(traced, node, _list_nodes([x, weights]), deform_dtype)
    elif name in SAMPLERS or name in SUMS or (is_precise and name):
        _cast_inputs(traced, node, node.all_input_nodes, torch.float32)


def _cast_inputs(traced: Any, node: fx.Node, inputs: Iterable[fx.Node], dtype: torch.dtype) -> None:
    for source in dict.fromkeys(inputs):
        if _is_floating(source) and not (source.op == "get_attr" and dtype == torch.float32):
            node.replace_input_with(source, _cast(traced, node, source, dtype))


def _is_floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _cast(traced: Any, node: fx.Node, source: fx.Node, dtype: torch.dtype) -> fx.Node:
    """``source`` in ``dtype``: weights are converted now, computed values by a cast before ``node``."""
    graph = traced.graph
    if source.op == "get_attr" and dtype == torch.float16:
        name = f"half_{str(source.target).replace('.', '_')}"
        if not hasattr(traced, name):
            traced.register_buffer(name, _get_attribute(traced, str(source.target)).detach().to(dtype))
        with graph.inserting_before(node):
            cast: fx.Node = graph.get_attr(name)
    else:
        with graph.inserting_before(node):
            cast = graph.call_function(torch.ops.aten.to.dtype, (source, dtype))
    cast.meta["val"] = source.meta["val"].to(dtype)
    return cast


def _get_attribute(traced: Any, path: str) -> Tensor:
    found = traced
    for name in path.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
