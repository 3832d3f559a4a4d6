"""Exports of a single-stage network whose outputs can be computed by hand: the brightest pixels are people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.spec.manifest import PictureManifest, Source, describe_file, fingerprint_files, write_manifest
from engines.spec.network import NetworkSpec
from engines.spec.picture_signature import PictureSignature, Suppression

SIZE = (64, 32)
"""Width and height of the network's input."""

CANDIDATES = 6
REACH = 4
"""Half the side of a box, px."""


def signature(suppression: Suppression | None = None, max_people: int = 100) -> PictureSignature:
    return PictureSignature(
        name="brightest",
        input_size=SIZE,
        candidates=CANDIDATES,
        suppression=suppression or Suppression(iou=0.3, min_score=0.45),  # padding is of 104
        max_people=max_people,
    )


def write_export(folder: Path, spec: PictureSignature | None = None, batch: int | str = "batch") -> Path:
    """The folder of an export; ``batch`` rows where that is a number."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = spec or signature()
    onnx.save(brightest(batch), str(folder / "fused.onnx"))
    (folder / "weights.safetensors").write_bytes(b"nothing that these tests run")
    files = {name: describe_file(folder / name) for name in ("fused.onnx", "weights.safetensors")}
    manifest = PictureManifest(
        signature=spec,
        network=NetworkSpec(model="drawn.Drawn", input_size=SIZE, takes="picture", skeleton=spec.skeleton),
        precision="fp32",
        graphs={"fused": "fused.onnx"},
        weights="weights.safetensors",
        files=files,
        source=Source(note="drawn for a test"),
        versions={},
        parity={},
        fingerprint=fingerprint_files(files),
        opset=20,
    )
    write_manifest(manifest, folder)
    return folder


def brightest(batch: int | str = "batch") -> onnx.ModelProto:
    """The best six pixels by their blue: all joints lie there, the score is the share of 255."""
    width, height = SIZE
    nodes = [
        helper.make_node("Cast", ["pictures"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["grey", "zero", "one", "three"], ["blue"]),
        helper.make_node("Reshape", ["blue", "flat"], ["pixels"]),
        helper.make_node("TopK", ["pixels", "most"], ["values", "index"]),
        helper.make_node("Div", ["values", "white"], ["scores"]),
        helper.make_node("Div", ["index", "width"], ["row"]),
        helper.make_node("Mul", ["row", "width"], ["before"]),
        helper.make_node("Sub", ["index", "before"], ["column"]),
        helper.make_node("Cast", ["row"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["column"], ["x"], to=TensorProto.FLOAT),
        *(helper.make_node("Unsqueeze", [name, "two"], [f"{name}1"]) for name in ("x", "y", "scores")),
        helper.make_node("Concat", ["x1", "y1", "scores1"], ["rows"], axis=2),
        helper.make_node("Unsqueeze", ["rows", "two"], ["joint"]),
        helper.make_node("Tile", ["joint", "joints"], ["points"]),
        helper.make_node("Concat", ["x1", "y1", "x1", "y1"], ["centres"], axis=2),
        helper.make_node("Add", ["centres", "reach"], ["boxes"]),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "three": np.array([3]),
        "flat": np.array([0, width * height]),
        "most": np.array([CANDIDATES]),
        "white": np.array(255, np.float32),
        "width": np.array(width),
        "joints": np.array([1, 1, 17, 1]),
        "reach": np.array([-REACH, -REACH, REACH, REACH], np.float32),
    }
    outputs = {"points": [CANDIDATES, 17, 3], "scores": [CANDIDATES], "boxes": [CANDIDATES, 4]}
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, [batch, height, width, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape]) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def dark(size: tuple[int, int] = SIZE, *spots: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A black frame of ``size`` (width, height) with ``spots`` (x, y, grey level) of one pixel."""
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, grey in spots:
        frame[y, x] = grey
    return frame
