"""Small ONNX networks, built node by node, whose outputs can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.hub.catalogue import SHIPPED_FOLDER

Shape = Sequence[int | str]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, NDArray[np.generic]] | None = None,
) -> Path:
    """Write a float32 network."""
    graph = helper.make_graph(
        list(nodes),
        "drawn",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def brightness(path: Path, batch: int | str = "batch", size: tuple[int, int] = (48, 64), joints: int = 17) -> Path:
    """A "pose network": every joint's heatmap is the red channel, averaged over cells of 4 x 4 pixels.

    A bright spot in a dark picture is therefore found by all joints. ``size`` is (width, height).
    """
    width, height = size
    weights = np.zeros((joints, 3, 4, 4), np.float32)
    weights[:, 0] = 1 / 16
    node = helper.make_node("Conv", ["image", "weights"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4])
    return save(
        path,
        [node],
        {"image": [batch, 3, height, width]},
        {"heatmaps": [batch, joints, height // 4, width // 4]},
        {"weights": weights},
    )


def pair(path: Path) -> Path:
    """A "detector" that finds two people in every picture, on the left and on the right, with its signature."""
    path.with_suffix(".json").write_text(
        '{"family": "boxes-scores", "colour": "rgb", "mean": [0, 0, 0], "std": [1, 1, 1]}'
    )
    boxes = np.array([[[0.1, 0.1, 0.4, 0.9], [0.5, 0.2, 0.8, 0.95]]], np.float32)
    nodes = [helper.make_node("Identity", [f"all_{name}"], [name]) for name in ("boxes", "scores")]
    return save(
        path,
        nodes,
        {"image": [1, 3, 64, 64]},
        {"boxes": [1, 2, 4], "scores": [1, 2]},
        {"all_boxes": boxes, "all_scores": np.array([[0.9, 0.8]], np.float32)},
    )


def brightness_simcc(path: Path, batch: int | str = "batch", size: tuple[int, int] = (48, 64)) -> Path:
    """The same in SimCC: 17 rows of column means and of row means of the red channel, each pixel two bins wide."""
    width, height = size
    nodes = [
        helper.make_node("Slice", ["image", "zero", "one", "channel"], ["red"]),
        helper.make_node("ReduceMean", ["red"], ["columns"], axes=[2], keepdims=1),
        helper.make_node("ReduceMean", ["red"], ["rows"], axes=[3], keepdims=1),
        helper.make_node("Reshape", ["columns", "columns_shape"], ["x1"]),
        helper.make_node("Reshape", ["rows", "rows_shape"], ["y1"]),
        helper.make_node("Resize", ["x1", "", "scales"], ["x2"], mode="nearest"),
        helper.make_node("Resize", ["y1", "", "scales"], ["y2"], mode="nearest"),
        helper.make_node("Tile", ["x2", "repeats"], ["simcc_x"]),
        helper.make_node("Tile", ["y2", "repeats"], ["simcc_y"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "channel": np.array([1]),
        "columns_shape": np.array([0, 1, width]),
        "rows_shape": np.array([0, 1, height]),
        "scales": np.array([1, 1, 2], np.float32),
        "repeats": np.array([1, 17, 1]),
    }
    outputs: dict[str, Shape] = {"simcc_x": [batch, 17, 2 * width], "simcc_y": [batch, 17, 2 * height]}
    return save(path, nodes, {"image": [batch, 3, height, width]}, outputs, constants)


def stack_of_frames(path: Path, frames: int, size: tuple[int, int] = (48, 64)) -> Path:
    """A "temporal network" (N, T, 3, H, W): joint k looks at the red channel of frame k modulo T."""
    width, height = size
    weights = np.zeros((17, 3 * frames, 4, 4), np.float32)
    for joint in range(17):
        weights[joint, 3 * (joint % frames)] = 1 / 16
    nodes = [
        helper.make_node("Reshape", ["frames", "stacked"], ["channels"]),
        helper.make_node("Conv", ["channels", "weights"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    return save(
        path,
        nodes,
        {"frames": ["batch", frames, 3, height, width]},
        {"heatmaps": ["batch", 17, height // 4, width // 4]},
        {"weights": weights, "stacked": np.array([0, 3 * frames, height, width])},
    )


def shipped_heatmaps() -> onnx.ModelProto:
    """``hrnet-small`` as it ships, but giving its heatmaps in place of the points it makes of them.

    crops (N, 1, 128, 96, 3) uint8 -> heatmaps (N, 17, 32, 24).
    """
    model = onnx.load(str(SHIPPED_FOLDER / "hrnet-small" / "fused.onnx"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["batch", 17, 32, 24]))
    return model
