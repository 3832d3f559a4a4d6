"""Detectors in every format that exporters write, as small ONNX files that find the person of the trial picture.

Their boxes are constants. Their scores are 0 unless the mean of the input is that of the preprocessing they "were
trained with": between 50 and 250 for grey levels, below 2 for unit values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.inference.detector_families import make_grid
from engines.vision.trial_picture import draw_person

Table = NDArray[Any]

SIZE = (128, 96)
PERSON = draw_person(SIZE)[1]
"""Where the trial picture's person is, x1, y1, x2, y2 px."""
CENTRE = np.array([*(PERSON[:2] + PERSON[2:]) / 2, *(PERSON[2:] - PERSON[:2])], np.float32)
SCORE = 0.9

GREY_LEVELS, UNIT_VALUES = (50.0, 250.0), (0.05, 2.0)


@dataclass(frozen=True)
class Output:
    """One output: ``table``, of which what is in ``gated`` is 0 for another preprocessing."""

    table: Table
    gated: Table | None = None
    shape: tuple[int | str, ...] | None = None


def save_detector(
    path: Path,
    outputs: Mapping[str, Output],
    *,
    mean: tuple[float, float] = UNIT_VALUES,
    shape: tuple[int | str, ...] = (1, 3, SIZE[1], SIZE[0]),
    dtype: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a detector that returns ``outputs`` for inputs whose mean lies in ``mean``."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["level"], keepdims=0),
        helper.make_node("Greater", ["level", "low"], ["above"]),
        helper.make_node("Less", ["level", "high"], ["below"]),
        helper.make_node("And", ["above", "below"], ["is_known"]),
        helper.make_node("Cast", ["is_known"], ["gate"], to=TensorProto.FLOAT),
    ]
    constants: dict[str, Table] = {"low": np.array(mean[0], np.float32), "high": np.array(mean[1], np.float32)}
    for name, output in outputs.items():
        gated = np.zeros_like(output.table, np.float32) if output.gated is None else output.gated.astype(np.float32)
        constants |= {f"{name}_all": output.table.astype(np.float32), f"{name}_gated": gated}
        kind = helper.np_dtype_to_tensor_dtype(output.table.dtype)
        nodes += [
            helper.make_node("Mul", [f"{name}_gated", "gate"], [f"{name}_now"]),
            helper.make_node("Add", [f"{name}_all", f"{name}_now"], [f"{name}_sum"]),
            helper.make_node("Cast", [f"{name}_sum"], [name], to=kind),
        ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(output.table.dtype), output.shape or output.table.shape
            )
            for name, output in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, str(path))
    return path


def split_scores(table: Table, columns: slice, *, turned: bool = False, dtype: Any = np.float32) -> Output:
    """An output (1, n, columns) whose score ``columns`` depend on the preprocessing; ``turned``: (1, columns, n)."""
    fixed, gated = table.copy(), np.zeros_like(table)
    gated[..., columns] = table[..., columns]
    fixed[..., columns] = 0
    if turned:
        fixed, gated = fixed.transpose(0, 2, 1), gated.transpose(0, 2, 1)
    return Output(fixed.astype(dtype), gated)


def cells(rows: int, columns: int) -> Table:
    """A table (1, rows, columns) of boxes on the grid, centre and size in px, with scores of 0."""
    grid = make_grid(SIZE)
    table = np.zeros((1, rows, columns), np.float32)
    table[0, :, :2] = np.resize((grid[:, :2] + 0.5) * grid[:, 2:], (rows, 2))
    table[0, :, 2:4] = np.resize(grid[:, 2:], (rows, 2))
    return table


def in_fractions(outputs: dict[str, Output], points: int | None = None, *, turned: bool = False) -> dict[str, Output]:
    """The same one output with its boxes, and its keypoints from column ``points`` on, in fractions of the size."""
    ((name, output),) = outputs.items()
    divided = np.moveaxis(output.table, 1, 2).copy() if turned else output.table.copy()
    divided[..., :4] /= np.tile(SIZE, 2)
    if points:
        divided[..., points::3] /= SIZE[0]
        divided[..., points + 1 :: 3] /= SIZE[1]
    return {name: Output(np.ascontiguousarray(np.moveaxis(divided, 1, 2)) if turned else divided, output.gated)}


CELLS = len(make_grid(SIZE))


def yolov5(classes: int = 80, dtype: Any = np.float32, boxes: int = 3) -> dict[str, Output]:
    """(1, 3 cells, 5 + classes)."""
    table = cells(boxes * CELLS, 5 + classes)
    table[0, 7, :4], table[0, 7, 4:6] = CENTRE, (1, SCORE)
    return {"output0": split_scores(table, slice(4, None), dtype=dtype)}


def yolov8(classes: int = 80, *, turned: bool = True, person: int = 0, dtype: Any = np.float32) -> dict[str, Output]:
    """(1, 4 + classes, cells), or (1, cells, 4 + classes) unless ``turned``; the person is found by two cells."""
    table = cells(CELLS, 4 + classes)
    table[0, 7:9, :4], table[0, 7:9, 4 + person] = CENTRE, (SCORE, SCORE - 0.1)
    return {"output0": split_scores(table, slice(4, None), turned=turned, dtype=dtype)}


def end_to_end(rows: int = 300) -> dict[str, Output]:
    """(1, rows, 6): corners, score, class."""
    table = np.zeros((1, rows, 6), np.float32)
    table[0, 0], table[0, 1] = [*PERSON, SCORE, 0], [0, 0, 90, 90, SCORE, 7]
    return {"output0": split_scores(table, slice(4, 5))}


def dets_labels(dtype: Any = np.float32) -> dict[str, Output]:
    """``dets`` (1, 100, 5) and ``labels`` (1, 100) int64, as mmdeploy writes them; -1 pads."""
    table, labels = np.zeros((1, 100, 5), np.float32), np.full((1, 100), -1)
    table[0, 0], table[0, 1] = [*PERSON, SCORE], [0, 0, 90, 90, SCORE]
    labels[0, :2] = 0, 7
    return {"dets": split_scores(table, slice(4, 5), dtype=dtype), "labels": Output(labels)}


def detr(
    names: tuple[str, str], classes: int, person: int, *, queries: int = 300, dtype: Any = np.float32
) -> dict[str, Output]:
    """Centres in fractions (1, queries, 4) and logits (1, queries, classes), in the order of ``names``."""
    fractions = np.tile(np.array([0.5, 0.5, 0.1, 0.2], np.float32), (queries, 1))
    fractions[3] = CENTRE / np.tile(SIZE, 2)
    logits, gated = np.full((1, queries, classes), -9, np.float32), np.zeros((1, queries, classes), np.float32)
    if classes == 92:
        logits[..., -1] = 9  # nothing
        gated[0, 3, [person, 91]] = 20, -20
    else:
        gated[0, 3, person] = 9 + np.log(SCORE / (1 - SCORE))
    found = {"boxes": Output(fractions[None].astype(dtype)), "logits": Output(logits.astype(dtype), gated)}
    return {name: found[kind] for name, kind in zip(names, ("boxes", "logits"), strict=True)}


def boxes_scores(boxes_dtype: Any = np.float32, labels: Any = np.int64) -> dict[str, Output]:
    """Corners in px, scores and integer labels."""
    boxes = np.zeros((1, 50, 4), np.float32)
    boxes[0, 0], boxes[0, 1] = PERSON, [0, 0, 90, 90]
    scores, gated = np.zeros((1, 50), np.float32), np.zeros((1, 50), np.float32)
    gated[0, :2] = SCORE, SCORE
    classes = np.full((1, 50), 5, labels)
    classes[0, 0] = 0
    return {"boxes": Output(boxes.astype(boxes_dtype)), "scores": Output(scores, gated), "labels": Output(classes)}


JOINTS = np.stack([np.linspace(40, 80, 17), np.linspace(20, 90, 17), np.full(17, 0.8)], axis=1).astype(np.float32)
"""Keypoints (17, 3) of the person, in index coordinates of the input."""


def rtmo(dtype: Any = np.float32) -> dict[str, Output]:
    """``dets`` (1, n, 5) and ``keypoints`` (1, n, 17, 3)."""
    dets, points = np.zeros((1, 20, 5), np.float32), np.zeros((1, 20, 17, 3), np.float32)
    dets[0, 0], points[0, 0] = [*PERSON, SCORE], JOINTS
    return {"dets": split_scores(dets, slice(4, 5), dtype=dtype), "keypoints": Output(points.astype(dtype))}
