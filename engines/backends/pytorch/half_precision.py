"""Half precision where a float16's 11 bits suffice, float32 where a bit lost is a pixel lost.

The rules are those of an export's fp16 graphs, for PyTorch to run the same network: convolutions and matrix products
are float16, except

* those that say where: what offsets of a deformable convolution and grids of a sampling are computed by, back to and
  including the last convolution before them; and the layers that sample, which add offsets to places inside;
* the last convolution before the points, since an arg-max over rounded heatmaps finds two tops;
* sums of many terms: softmax, normalisation by a group or a layer, exponentials, logarithms, reductions.

What stands between has the type that comes to it. Unlike the export, nothing is run to see whether values leave
float16's range (65504).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

PRODUCTS = frozenset({"conv2d", "convolution", "conv_transpose2d", "linear", "matmul", "mm", "bmm", "addmm", "einsum"})
CONVOLUTIONS = frozenset({"conv2d", "convolution", "conv_transpose2d"})

SAMPLERS = {"deform_conv2d": 1, "deform_conv2d_dilated": 1, "grid_sampler": 1}
"""Operators that read a map at computed places, and which of their arguments says where."""

DEFORMED = frozenset({"deform_conv2d", "deform_conv2d_dilated"})
"""Among them those with weights; they take map, offsets, masks, weights and biases, in that order."""

SUMS = frozenset({"softmax", "log_softmax", "group_norm", "layer_norm", "instance_norm", "sum", "mean", "var", "std"})
SUMS |= {"exp", "log", "pow", "sqrt", "rsqrt", "cumsum", "logsumexp"}

SHAPES = frozenset({"new_ones", "new_zeros", "new_full", "ones_like", "zeros_like", "sym_size"})
"""What looks at the shape of a map and not at its values."""

MOST_PEOPLE = 4096
"""Of one run. A bound only since the tracer asks for one."""


def to_mixed_precision(
    module: nn.Module, examples: tuple[Tensor, ...], *, deformed: torch.dtype = torch.float32
) -> nn.Module:
    """``module`` in mixed precision, for any batch; ``examples`` are of two people. ``module`` stays as it is.

    Its inputs and outputs keep their types. ``deformed`` is the type of maps and weights of deformable convolutions:
    float16 where a kernel takes offsets in float32 beside them, as ours on CUDA does and plain PyTorch does not.
    """
    batch = torch.export.Dim("batch", min=1, max=MOST_PEOPLE)
    shapes = torch.export.ShapesCollection()
    for example in examples:
        shapes[example] = {0: batch}
    traced: Any = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False).module()
    precise = _saying_where(traced.graph) | _before_points(traced.graph)
    for node in list(traced.graph.nodes):
        if kind(node) == "_assert_tensor_metadata":  # of the types as they were
            traced.graph.erase_node(node)
        else:
            _retype(traced, node, is_precise=node in precise, deformed=deformed)
    traced.graph.lint()
    traced.recompile()
    return traced  # type: ignore[no-any-return]


def kind(node: fx.Node) -> str:
    """The operator's name, such as ``conv2d``; nothing for what computes nothing."""
    return getattr(node.target, "_opname", "") if node.op == "call_function" else ""


def _saying_where(graph: fx.Graph) -> set[fx.Node]:
    places = [node.args[SAMPLERS[kind(node)]] for node in graph.nodes if kind(node) in SAMPLERS]
    return _back_to_convolutions(_nodes_in(places))


def _before_points(graph: fx.Graph) -> set[fx.Node]:
    """Only where there are points: maps that are kept are rounded anyway."""
    made = list(_nodes_in(next(node for node in graph.nodes if node.op == "output").args))
    decodes = any(kind(node) == "argmax" for node in graph.nodes)
    return _back_to_convolutions(made) if decodes else set()


def _back_to_convolutions(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """``nodes`` and all they come from, as far as the first convolution or sampler on each way, which is the last."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            is_source = kind(node) in CONVOLUTIONS or kind(node) in SAMPLERS or kind(node) in SHAPES
            waiting += [] if is_source else node.all_input_nodes
    return found


def _nodes_in(argument: Any) -> Iterator[fx.Node]:
    if isinstance(argument, fx.Node):
        yield argument
    elif isinstance(argument, list | tuple):
        for entry in argument:
            yield from _nodes_in(entry)


def _retype(traced: Any, node: fx.Node, *, is_precise: bool, deformed: torch.dtype) -> None:
    """Give ``node`` its arguments in the type it computes in."""
    name = kind(node)
    if name in PRODUCTS:
        _give(traced, node, node.all_input_nodes, torch.float32 if is_precise else torch.float16)
    elif name in DEFORMED:
        x, offsets, masks, *weights = node.args[:5]
        _give(traced, node, _nodes_in([offsets, masks]), torch.float32)
        _give(traced, node, _nodes_in([x, weights]), deformed)
    elif name in SAMPLERS or name in SUMS or (is_precise and name):
        _give(traced, node, node.all_input_nodes, torch.float32)


def _give(traced: Any, node: fx.Node, given: Iterable[fx.Node], wanted: torch.dtype) -> None:
    for one in dict.fromkeys(given):
        if _is_floating(one) and not (one.op == "get_attr" and wanted == torch.float32):
            node.replace_input_with(one, _as_type(traced, node, one, wanted))


def _is_floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _as_type(traced: Any, node: fx.Node, given: fx.Node, wanted: torch.dtype) -> fx.Node:
    """``given`` in ``wanted``: weights once and for all, what is computed by a cast before ``node``."""
    graph = traced.graph
    if given.op == "get_attr" and wanted == torch.float16:
        name = f"half_{str(given.target).replace('.', '_')}"
        if not hasattr(traced, name):
            traced.register_buffer(name, _attribute(traced, str(given.target)).detach().to(wanted))
        with graph.inserting_before(node):
            cast: fx.Node = graph.get_attr(name)
    else:
        with graph.inserting_before(node):
            cast = graph.call_function(torch.ops.aten.to.dtype, (given, wanted))
    cast.meta["val"] = given.meta["val"].to(wanted)
    return cast


def _attribute(traced: Any, path: str) -> Tensor:
    found = traced
    for name in path.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
