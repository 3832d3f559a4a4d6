"""Exports of a small temporal network, built node by node: fused, and as backbone and head.

Each joint's answer is a weighted sum over all frames and channels, taken through a softmax to the mean of where it is:
a smooth function of every kept value, so that one wrong, missing or misplaced frame moves every keypoint.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnxrt import OnnxRuntime
from engines.inference.crop_lock import CropLock
from engines.inference.regions import box_to_region, crop_regions, to_keypoints
from engines.spec.manifest import (
    File,
    Manifest,
    Part,
    Source,
    describe_file,
    fingerprint_files,
    read_manifest,
    write_manifest,
)
from engines.spec.network import NetworkSpec
from engines.spec.signature import Signature
from engines.vision.windows import Keypoints, PersonWindows

SIZE = (48, 64)
"""Width and height of a crop."""

CHANNELS, STRIDE = 4, 4
CELLS = (SIZE[1] // STRIDE, SIZE[0] // STRIDE)
JOINTS = 17
ALL: tuple[Part, ...] = ("fused", "backbone", "head")


def write_export(
    folder: Path,
    *,
    past: int = 2,
    future: int = 2,
    parts: Collection[Part] = ALL,
    seed: int = 0,
    batch: int | str = "batch",
    name: str = "drawn",
) -> Path:
    """The folder of an export whose weights come from ``seed``; ``batch`` rows where that is a number."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = signature(past, future, name)
    for part in parts:
        onnx.save(graph(part, spec.frames, seed, batch), str(folder / f"{part}.onnx"))
    (folder / "weights.safetensors").write_bytes(b"nothing that these tests run")
    write_manifest(manifest(folder, spec, parts), folder)
    return folder


def signature(past: int, future: int, name: str = "drawn") -> Signature:
    return Signature(
        name=name,
        input_size=SIZE,
        past=past,
        future=future,
        layout="nthwc",
        pixel="uint8",
        decode="points",
        keeps=((CHANNELS, *CELLS),),
    )


def manifest(folder: Path, spec: Signature, parts: Collection[Part]) -> Manifest:
    """What the manifest says of the files that lie in ``folder``."""
    graphs = {part: f"{part}.onnx" for part in parts}
    files: dict[str, File] = {name: describe_file(folder / name) for name in (*graphs.values(), "weights.safetensors")}
    return Manifest(
        signature=spec,
        network=NetworkSpec(model="drawn.Drawn", input_size=SIZE, window=spec.offsets, skeleton=spec.skeleton),
        precision="fp32",
        graphs=graphs,
        weights="weights.safetensors",
        files=files,
        source=Source(note="drawn for a test"),
        versions={},
        parity={},
        fingerprint=fingerprint_files(files),
        opset=20,
    )


def graph(part: Part, frames: int, seed: int, batch: int | str) -> onnx.ModelProto:
    """One part of the network."""
    height, width = SIZE[1], SIZE[0]
    maps = [batch, frames, CHANNELS, *CELLS]
    if part == "backbone":
        return _model(
            _backbone("crops", "maps_0"),
            ("crops", [batch, height, width, 3]),
            ("maps_0", [batch, *maps[2:]]),
            seed,
            frames,
        )
    if part == "head":
        return _model(_head("maps_0"), ("maps_0", maps), ("points", [batch, JOINTS, 3]), seed, frames)
    nodes = [
        helper.make_node("Reshape", ["crops", "one_by_one"], ["frames"]),
        *_backbone("frames", "maps"),
        *_head("maps"),
    ]
    return _model(nodes, ("crops", [batch, frames, height, width, 3]), ("points", [batch, JOINTS, 3]), seed, frames)


def _backbone(source: str, target: str) -> list[onnx.NodeProto]:
    stride = [STRIDE, STRIDE]
    return [
        helper.make_node("Cast", [source], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["edges"], kernel_shape=stride, strides=stride),
        helper.make_node("Abs", ["edges"], [target]),
    ]


def _head(source: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Reshape", [source, "side_by_side"], ["stacked"]),
        helper.make_node("Conv", ["stacked", "mixture"], ["heatmaps"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["heatmaps", "in_rows"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=2),
        helper.make_node("MatMul", ["shares", "places"], ["xy"]),
        helper.make_node("ReduceMax", ["shares", "last"], ["scores"], keepdims=1),
        helper.make_node("Concat", ["xy", "scores"], ["points"], axis=2),
    ]


def _model(
    nodes: list[onnx.NodeProto],
    source: tuple[str, list[int | str]],
    target: tuple[str, list[int | str]],
    seed: int,
    frames: int,
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    constants = {name: array for name, array in _constants(seed, frames).items() if name in used}
    types = {"crops": TensorProto.UINT8}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)]
        for name, shape in (source, target)
    )
    drawn = helper.make_graph(
        nodes, "drawn", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in constants.items()]
    )
    model = helper.make_model(drawn, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _constants(seed: int, frames: int) -> dict[str, NDArray[np.generic]]:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: CELLS[0], : CELLS[1]]
    return {
        "filters": (random.normal(size=(CHANNELS, 3, STRIDE, STRIDE)) / 255).astype(np.float32),
        "mixture": random.normal(size=(JOINTS, frames * CHANNELS, 1, 1)).astype(np.float32),
        "places": np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32) * STRIDE,
        "one_by_one": np.array([-1, SIZE[1], SIZE[0], 3]),
        "side_by_side": np.array([-1, frames * CHANNELS, *CELLS]),
        "in_rows": np.array([-1, JOINTS, CELLS[0] * CELLS[1]]),
        "last": np.array([2]),
    }


# -- what it should give -----------------------------------------------------------------------------------------------

# Points of the drawn network, in another batch or another graph: sums of 20 products and a softmax in single precision,
# carried from crops of 48 px to boxes of 60.
ATOL_PX = 1e-3


def reference(folder: Path, windows: Sequence[PersonWindows], margin: float = 0.15) -> list[Keypoints]:
    """The fused graph on whole windows, each person alone, in the crops that a lock of its own holds."""
    signature = read_manifest(folder).signature
    lock = CropLock(margin, patience=signature.frames)
    network = OnnxRuntime(folder / "fused.onnx")
    network.open()
    return [_estimate(network, signature, window, lock) for window in windows]


def _estimate(network: OnnxRuntime, signature: Signature, window: PersonWindows, lock: CropLock) -> Keypoints:
    (camera, seq), pixels = window.keys[signature.past], window.frames[signature.past]
    lock.start_frame(camera, seq, (pixels.shape[1], pixels.shape[0]))
    found = []
    for box, identity in zip(window.boxes, window.ids, strict=True):
        region = lock.get_anchor(camera, int(identity), box_to_region(signature, box)).region
        crops = crop_regions(signature, window.frames, [region] * len(window.frames))
        points = network.run({"crops": crops[None]})["points"][0]
        found.append(to_keypoints(signature, points[None, :, :2].astype(np.float64), points[None, :, 2], [region])[0])
    return np.stack(found) if found else np.zeros((0, JOINTS, 3), np.float32)
