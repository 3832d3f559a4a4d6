"""Frames per second of a video, beside rtmlib, on the same two ONNX files.

    python -m benchmarks.throughput --shared ../shared            prints a table
    python -m benchmarks.throughput --shared ../shared --write    and writes results/throughput.md
    python -m benchmarks.throughput --shared ../shared --interval 10 --write    and writes results/throughput_10.md

YOLOX-nano and PP-TinyPose 256x192, whose heatmaps are turned into SimCC, which rtmlib decodes; three people do
aerobics. rtmlib runs as its authors show it: a loop over frames, each network on all cores. All variants take turns
within every repetition; a speed is measured from the first result to the last, so that starting does not count. The
files are not part of the project; ``--shared`` is their folder. Needs ``pip install rtmlib``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.spec.signature import Signature, write_signature
from stream.pipeline.launch import parse_launch
from stream.runtime.supervisor import Supervisor

SIZE = (192, 256)
"""Width and height of TinyPose's input, px."""
STRIDE, SPLIT = 4, 2
"""Pixels per cell of its heatmaps, and SimCC's bins per pixel."""
DETECTOR_SIZE = (416, 416)
MIN_SCORE, IOU = 0.4, 0.45


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(options.shared / "data/clips/felix_exercise.avi", Path(folder), options.frames)
        pose = write_simcc(options.shared / "data/real/tinypose_256_192.onnx", Path(folder))
        variants = make_variants(clip, options.shared / "data/models/yolox_nano.onnx", pose, options.interval)
        runs: dict[str, list[tuple[float, int]]] = {name: [] for name in variants}
        loads = []
        for _ in range(options.repetitions):
            for name, run in variants.items():
                loads.append(os.getloadavg()[0])
                runs[name].append(run())
    result = {"machine": describe_machine(), "loads": loads, "interval": options.interval, "runs": runs}
    text = table(result)
    print(text)
    if options.write:
        write_results("throughput" if options.interval == 1 else f"throughput_{options.interval}", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips, data/models, data/real")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--interval", type=int, default=1, help="detect on one frame in this many")
    return parser.parse_args()


# -- files ------------------------------------------------------------------------------------------------------------


def write_clip(source: Path, folder: Path, frames: int) -> Path:
    """The first ``frames`` frames of a video, as Motion JPEG, which decodes as fast in every reader."""
    capture = cv2.VideoCapture(str(source))
    path = folder / "clip.avi"
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, size)
    for _ in range(frames):
        is_read, pixels = capture.read()
        if not is_read:
            break
        writer.write(pixels)
    writer.release()
    return path


def write_simcc(heatmaps: Path, folder: Path) -> Path:
    """A network of heatmaps (N, 17, h, w) with SimCC in their place: maxima of columns and rows, each bin repeated."""
    model = onnx.load(heatmaps)
    maps = model.graph.output[0].name
    outputs = []
    for name, axis, side in (("simcc_x", 2, SIZE[0]), ("simcc_y", 3, SIZE[1])):
        bins, cells = side * SPLIT, side // STRIDE
        constants = {"axes": np.array([axis]), "scales": np.array([1, 1, bins / cells], np.float32)}
        model.graph.initializer.extend(numpy_helper.from_array(at, f"{name}_{key}") for key, at in constants.items())
        model.graph.node.extend(
            [
                helper.make_node("ReduceMax", [maps, f"{name}_axes"], [f"{name}_max"], keepdims=0),
                helper.make_node("Resize", [f"{name}_max", "", f"{name}_scales"], [name], mode="nearest"),
            ]
        )
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 17, bins]))
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    path = folder / "simcc.onnx"
    onnx.save(model, path)
    # rtmlib feeds BGR.
    signature = Signature(name="simcc", input_size=SIZE, decode="simcc", simcc_split=SPLIT, colour="bgr")
    write_signature(signature, path.with_suffix(".json"))
    return path


# -- variants ---------------------------------------------------------------------------------------------------------


def make_variants(clip: Path, detector: Path, pose: Path, interval: int) -> dict[str, Callable[[], tuple[float, int]]]:
    """What is compared: frames per second, and how many people were found."""
    detect = f"detect model={detector} min_score={MIN_SCORE} iou={IOU} interval={interval}"
    source, estimate = f"filesrc location={clip}", f"pose model={pose}"
    return {
        "rtmlib": lambda: run_rtmlib(clip, detector, pose, interval),
        "posestream, in processes": lambda: run_processes(
            f"{source} ! queue ! {detect} ! track ! queue ! window ! {estimate}"
        ),
        "posestream, in one process": lambda: run_here(f"{source} ! {detect} ! track ! window ! {estimate}"),
    }


def run_rtmlib(clip: Path, detector: Path, pose: Path, interval: int) -> tuple[float, int]:
    """rtmlib's loop; between detections it keeps the last boxes."""
    rtmlib = import_module("rtmlib")  # no dependency of the project
    find = rtmlib.YOLOX(str(detector), DETECTOR_SIZE, nms_thr=IOU, score_thr=MIN_SCORE)
    estimate = rtmlib.RTMPose(str(pose), SIZE)
    capture, boxes = cv2.VideoCapture(str(clip)), np.zeros((0, 4))
    arrivals: list[float] = []
    people = 0
    while True:
        is_read, pixels = capture.read()
        if not is_read:
            return _measure(arrivals), people
        if len(arrivals) % interval == 0:
            boxes = find(pixels)
        if len(boxes):
            keypoints, _ = estimate(pixels, bboxes=boxes)
            people += len(keypoints)
        arrivals.append(time.perf_counter())


def run_here(line: str) -> tuple[float, int]:
    """A line in this process."""
    arrivals, people = [], 0
    for poses in parse_launch(line).run():
        people += len(poses.boxes)
        arrivals.append(time.perf_counter())
    return _measure(arrivals), people


def run_processes(line: str) -> tuple[float, int]:
    """A line in processes, which writes when each frame was estimated."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "poses.jsonl"
        text = f"{line} ! queue ! jsonsink location={path} format=lines"
        with Supervisor(parse_launch(text)) as supervisor:
            supervisor.play()
            supervisor.wait()
        records = [json.loads(row) for row in path.read_text().splitlines()]
    frames = [record for record in records if "ledger" in record]
    return _measure([frame["ledger"]["inferred"] / 1e9 for frame in frames]), sum(map(_count_people, frames))


def _count_people(record: dict[str, Any]) -> int:
    return len(record["people"])


def _measure(arrivals: list[float]) -> float:
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


# -- the table --------------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """Medians over the repetitions, and ratios within each."""
    return "\n".join(_make_rows(result))


def _make_rows(result: dict[str, Any]) -> Iterator[str]:
    runs: dict[str, list[tuple[float, int]]] = result["runs"]
    rival = runs["rtmlib"]
    yield f"{result['machine']}, load {min(result['loads']):.1f} to {max(result['loads']):.1f}; medians."
    yield ""
    yield f"| detection on one frame in {result['interval']} | frames per second | times rtmlib | people |"
    yield "|---|---|---|---|"
    for name, found in runs.items():
        ratios = [fps / other for (fps, _), (other, _) in zip(found, rival, strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield f"| {name} | {median(fps for fps, _ in found):.1f} | {spread} | {found[0][1]} |"


if __name__ == "__main__":
    raise SystemExit(main())
