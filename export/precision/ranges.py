"""Measures the largest absolute value of each tensor of a float32 graph on given inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from engines.errors import EngineError
from export.graph.editing import copy_proto

Feed = Mapping[str, NDArray[Any]]
"""One run's inputs: an array for each of the graph's inputs, by name."""

_SUFFIX = "__largest"


def open_session(model: onnx.ModelProto) -> Any:
    """``model`` in ONNX Runtime on the CPU, without fusions, so that every tensor exists."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes may need the cores
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def check_feed(model: onnx.ModelProto, feed: Feed) -> None:
    """Raise :class:`EngineError` unless ``feed`` has the inputs of ``model`` in their shapes."""
    for entry in model.graph.input:
        sizes = [dim.dim_value or None for dim in entry.type.tensor_type.shape.dim]
        given = feed.get(entry.name)
        if given is None:
            raise EngineError(f"calibration: input {entry.name!r} is missing; each feed must give every input")
        if len(sizes) != given.ndim or any(w not in (None, g) for w, g in zip(sizes, given.shape, strict=True)):
            wanted = "x".join(str(side or "N") for side in sizes)
            raise EngineError(
                f"calibration: frames of {'x'.join(map(str, given.shape))} for input {entry.name!r}, the network takes "
                f"{wanted}; resize them"
            )


def largest_values(model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feed]) -> dict[str, float]:
    """The largest ``|x|`` of each tensor of ``names`` over all ``feeds``.

    Raises :class:`EngineError` for no feeds at all or one of another shape.
    """
    runner = open_session(_add_probes(model, names))
    rows = [_run_once(runner, model, names, feed) for feed in feeds]
    if not rows:
        raise EngineError("calibration: no frames; give some that are typical of the input")
    return dict(zip(names, np.max(rows, axis=0).tolist(), strict=True))


def _run_once(runner: Any, model: onnx.ModelProto, names: Sequence[str], feed: Feed) -> NDArray[np.float64]:
    check_feed(model, feed)
    return np.array(runner.run([name + _SUFFIX for name in names], dict(feed)), np.float64)


def _add_probes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """``model`` with the largest ``|x|`` of each tensor as its outputs, which are small for any tensor."""
    probed = copy_proto(model)
    del probed.graph.output[:]
    for name in names:
        probed.graph.node.append(helper.make_node("Abs", [name], [name + "__size"]))
        probed.graph.node.append(helper.make_node("ReduceMax", [name + "__size"], [name + _SUFFIX], keepdims=0))
        probed.graph.output.append(helper.make_tensor_value_info(name + _SUFFIX, onnx.TensorProto.FLOAT, []))
    return probed
