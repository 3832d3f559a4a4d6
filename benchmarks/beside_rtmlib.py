"""Keypoints and boxes beside those of rtmlib, on the same files and pictures.

    pip install --no-deps rtmlib==0.0.16 tqdm
    python -m benchmarks.beside_rtmlib --shared ../shared --write

RTMPose's and RTMO's own files are not at hand, so files of their formats are made of published networks: PP-TinyPose,
whose heatmaps become SimCC's two vectors, and YOLOX-nano, whose best boxes become RTMO's ``dets``, with keypoints at
fixed places of each. What is compared is everything around the network: fitting, cropping, scaling, decoding,
suppression and the way back.

Two differences are rtmlib's choice and are taken out: it reports a pixel's middle as a whole number, half a pixel less
than posestream, and it feeds RTMPose blue, green, red, normalised with the mean of red, green, blue. So ours runs with
``colour: bgr`` here; AP says which order is right for a file. A third is left in: a fitted picture has whole pixels, so
its two factors differ a little from the one that was wanted. rtmlib scales back with that one, posestream with the two,
which makes up to one pixel of the input at the lower or right edge.

The pictures are COCO's of ``data/annot/coco_val_mini``, and frames of a clip of three people.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.evaluation.coco import score_coco
from engines.inference.detector import load_detector
from engines.inference.detector_families import make_grid
from engines.inference.engine import Engine, PersonWindows, load
from engines.inference.single_stage import load_picture_engine
from engines.spec.picture_signature import Suppression
from engines.spec.signature import Signature, write_signature
from engines.spec.single_stage_signature import SingleStageSignature
from engines.vision.crop import HALF_PIXEL

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

DETECTOR, POSE = "data/models/yolox_nano.onnx", "data/real/tinypose_256_192.onnx"
CLIP, PICTURES = "data/clips/felix_exercise.avi", "data/annot/coco_val_mini"

SIZE, CROP = (416, 416), (192, 256)
MIN_SCORE, IOU = 0.5, 0.45

CANDIDATES = 40
"""Rows of the file in RTMO's format."""


def make_simcc(pose: Path, path: Path) -> Path:
    """A file in RTMPose's format: the rows' and columns' maxima of heatmaps, eight bins for each of their cells."""
    model = onnx.load(pose)
    graph = model.graph
    maps = graph.output[0].name
    joints, rows, columns = (size.dim_value for size in graph.output[0].type.tensor_type.shape.dim[1:])
    for name, axis, bins, scales in (("x", 2, columns * 8, [1, 1, 1, 8]), ("y", 3, rows * 8, [1, 1, 8, 1])):
        graph.node.extend(
            [
                helper.make_node("ReduceMax", [maps, f"axis_{name}"], [f"max_{name}"], keepdims=1),
                helper.make_node("Resize", [f"max_{name}", "", f"scales_{name}"], [f"bins_{name}"], mode="linear"),
                helper.make_node("Squeeze", [f"bins_{name}", f"axis_{name}"], [f"simcc_{name}"]),
            ]
        )
        graph.initializer.append(numpy_helper.from_array(np.array([axis]), f"axis_{name}"))
        graph.initializer.append(numpy_helper.from_array(np.array(scales, np.float32), f"scales_{name}"))
        graph.output.append(helper.make_tensor_value_info(f"simcc_{name}", 1, ["N", joints, bins]))
    del graph.output[0]
    onnx.save(model, str(path))
    return path


def make_rtmo(detector: Path, path: Path) -> Path:
    """A file in RTMO's format: the best boxes of YOLOX, with 17 keypoints at fixed places of each."""
    model = onnx.load(detector)
    graph = model.graph
    rows = graph.output[0].name
    cells = make_grid(SIZE)
    places = np.stack([np.linspace(0.1, 0.9, 17), np.linspace(0.05, 0.95, 17) ** 2], axis=1).astype(np.float32)
    constants: dict[str, Any] = {
        "from0": np.array([0]), "to2": np.array([2]), "to4": np.array([4]), "to5": np.array([5]), "to6": np.array([6]),
        "columns": np.array([2]), "cells": cells[None, :, :2], "strides": cells[None, :, 2:], "half": np.float32(0.5),
        "flat": np.array([1, -1]), "count": np.array([CANDIDATES]), "row": np.array([-1]),
        "column": np.array([1, CANDIDATES, 1]), "four": np.array([1, CANDIDATES, 1, 2]), "places": places[None, None],
        "scored": np.array([1, CANDIDATES, 17, 1]), "ones": np.ones((1, 1, 17), np.float32),
    }  # fmt: skip
    ends = ("from0", "to2", "to4", "to5", "to6")
    cut = zip(("xy0", "wh0", "object", "person"), ends, ends[1:], strict=False)
    nodes = [("Slice", [rows, start, stop, "columns"], name) for name, start, stop in cut]
    nodes += [
        ("Add", ["xy0", "cells"], "xy1"), ("Mul", ["xy1", "strides"], "xy"),
        ("Exp", ["wh0"], "wh1"), ("Mul", ["wh1", "strides"], "wh"), ("Mul", ["wh", "half"], "reach"),
        ("Sub", ["xy", "reach"], "low"), ("Add", ["xy", "reach"], "high"),
        ("Mul", ["object", "person"], "scores"), ("Reshape", ["scores", "flat"], "flat_scores"),
    ]  # fmt: skip
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes)
    graph.node.append(helper.make_node("TopK", ["flat_scores", "count"], ["best", "best_at"], axis=1))
    graph.node.append(helper.make_node("Reshape", ["best_at", "row"], ["at"]))
    graph.node.extend(helper.make_node("Gather", [n, "at"], [f"{n}_best"], axis=1) for n in ("low", "high", "wh"))
    nodes = [
        ("Reshape", ["best", "column"], "column_best"),
        ("Reshape", ["low_best", "four"], "corner"), ("Reshape", ["wh_best", "four"], "sizes"),
        ("Mul", ["sizes", "places"], "inside"), ("Add", ["corner", "inside"], "points"),
        ("Mul", ["column_best", "ones"], "each"), ("Reshape", ["each", "scored"], "visible"),
    ]  # fmt: skip
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes)
    graph.node.append(helper.make_node("Concat", ["low_best", "high_best", "column_best"], ["dets"], axis=2))
    graph.node.append(helper.make_node("Concat", ["points", "visible"], ["keypoints"], axis=3))
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("dets", 1, [1, CANDIDATES, 5]))
    graph.output.append(helper.make_tensor_value_info("keypoints", 1, [1, CANDIDATES, 17, 3]))
    onnx.save(model, str(path))
    return path


@dataclass(frozen=True)
class Beside:
    """Distances px between our keypoints, moved by half a pixel, and rtmlib's, and the largest difference of scores."""

    distances: NDArray[np.float64]
    score_error: float

    def __str__(self) -> str:
        median, high = np.percentile(self.distances, (50, 99))
        return (
            f"{len(self.distances)} | {median:.4f} | {high:.4f} | {self.distances.max():.4f} | {self.score_error:.4f}"
        )


def load_theirs(kind: str, path: Path, size: tuple[int, int], **options: Any) -> Any:
    """A tool of rtmlib, whose announcements are not printed."""
    import rtmlib

    with contextlib.redirect_stdout(io.StringIO()):
        return getattr(rtmlib, kind)(str(path), model_input_size=size, **options)


def load_ours(simcc: Path, colour: Any = "bgr") -> Engine:
    """Our engine of the file in RTMPose's format."""
    signature = Signature(name="simcc", input_size=CROP, decode="simcc", colour=colour)
    write_signature(signature, simcc.with_suffix(".json"))
    return load(str(simcc), threads=1)


def estimate(engine: Engine, picture: Picture, boxes: Floats) -> Floats:
    """Keypoints (N, K, 3) of people in one picture."""
    (found,) = engine.estimate([PersonWindows((picture,), (("picture", 0),), boxes, np.arange(len(boxes)))])
    return found


def compare_pose(simcc: Path, pictures: Sequence[tuple[Picture, Floats]]) -> Beside:
    """RTMPose's format, on the same boxes."""
    theirs = load_theirs("RTMPose", simcc, CROP)
    with load_ours(simcc) as ours:
        pairs = [(estimate(ours, picture, boxes), theirs(picture, boxes.tolist())) for picture, boxes in pictures]
    return _summarise(pairs)


def compare_rtmo(rtmo: Path, pictures: Sequence[Picture]) -> Beside:
    """RTMO's format, on whole pictures."""
    theirs = load_theirs("RTMO", rtmo, SIZE, nms_thr=IOU, score_thr=MIN_SCORE)
    own = SingleStageSignature(name="rtmo", suppression=Suppression(iou=IOU, min_score=MIN_SCORE))
    rtmo.with_suffix(".json").write_text(_to_json(own))
    with load_picture_engine(str(rtmo), threads=1) as ours:
        found = [people.keypoints for people in ours.estimate(list(pictures))]
    pairs = [(mine, theirs(picture)) for mine, picture in zip(found, pictures, strict=True) if len(mine)]
    return _summarise([(mine, _order_like(mine, *other)) for mine, other in pairs])


def _order_like(mine: Floats, points: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Of rtmlib's people, the nearest to each of ours: equal scores may come in another order."""
    apart = np.linalg.norm(mine[:, None, :, :2] - HALF_PIXEL - points[None], axis=3).mean(axis=2)
    nearest = apart.argmin(axis=1)
    return points[nearest], scores[nearest]


def _to_json(signature: SingleStageSignature) -> str:
    own = signature.suppression
    return json.dumps({"name": signature.name, "suppression": {"iou": own.iou, "min_score": own.min_score}})


def _summarise(pairs: Sequence[tuple[Floats, tuple[Floats, Floats]]]) -> Beside:
    ours = np.concatenate([mine.reshape(-1, 3) for mine, _ in pairs])
    points = np.concatenate([other[0].reshape(-1, 2) for _, other in pairs])
    scores = np.concatenate([other[1].reshape(-1) for _, other in pairs]).clip(0, 1)
    distances = np.linalg.norm(ours[:, :2] - HALF_PIXEL - points, axis=1)
    return Beside(distances, float(np.abs(ours[:, 2] - scores).max()))


def find_people(shared: Path, pictures: Sequence[Picture]) -> list[tuple[Picture, Floats]]:
    """The pictures in which our detector finds people, with the boxes."""
    with load_detector(str(shared / DETECTOR), threads=1) as detector:
        found = [(picture, detector.detect(picture, MIN_SCORE, IOU)[0]) for picture in pictures]
    return [(picture, boxes) for picture, boxes in found if len(boxes)]


def compare_boxes(shared: Path, people: Sequence[tuple[Picture, Floats]]) -> NDArray[np.float64]:
    """The largest difference px of each of our boxes from the nearest of rtmlib's, cut off at the edges."""
    theirs = load_theirs("YOLOX", shared / DETECTOR, SIZE, nms_thr=IOU, score_thr=MIN_SCORE)
    found = []
    for picture, boxes in people:
        height, width = picture.shape[:2]
        others = np.clip(np.reshape(theirs(picture), (-1, 4)), 0, [width, height, width, height])
        found += [np.abs(others - box).max(axis=1).min(initial=np.inf) for box in boxes]
    return np.array(found)


def read_clip(path: Path, count: int) -> list[Picture]:
    """The first frames."""
    video = cv2.VideoCapture(str(path))
    read = (video.read() for _ in range(count))
    return [np.asarray(pixels, np.uint8) for there, pixels in read if there]


def read_pictures(folder: Path) -> dict[int, Picture]:
    """COCO's pictures by number."""
    paths = sorted((folder / "images").glob("*.jpg"))
    return {int(path.stem): np.asarray(cv2.imread(str(path)), np.uint8) for path in paths}


def score(shared: Path, simcc: Path) -> Iterator[tuple[str, float]]:
    """AP of whole pictures on COCO's, each with its own boxes and colour order."""
    folder = shared / PICTURES
    pictures = read_pictures(folder)
    detector = load_theirs("YOLOX", shared / DETECTOR, SIZE, det_mode="multiclass", nms_thr=IOU, score_thr=0.3)
    pose, documents = load_theirs("RTMPose", simcc, CROP), []
    for image, picture in pictures.items():
        boxes, classes = detector(picture)
        if len(people := boxes[classes == 0]):
            documents += _to_documents(image, *pose(picture, people.tolist()))
    yield "rtmlib", score_coco(folder / "person_keypoints.json", documents)["AP"]
    for colour in ("bgr", "rgb"):
        documents = []
        with load_ours(simcc, colour) as ours, load_detector(str(shared / DETECTOR), threads=1) as own:
            for image, picture in pictures.items():
                found = estimate(ours, picture, own.detect(picture, 0.3, IOU)[0])
                documents += _to_documents(image, found[..., :2] - HALF_PIXEL, found[..., 2])
        yield f"posestream, colour {colour}", score_coco(folder / "person_keypoints.json", documents)["AP"]


def _to_documents(image: int, points: Floats, scores: Floats) -> list[dict[str, Any]]:
    """COCO's results; a person's score is the mean of the joints'."""
    return [
        {
            "image_id": image,
            "category_id": 1,
            "keypoints": np.column_stack([joints, visible]).ravel().tolist(),
            "score": float(np.mean(visible)),
        }
        for joints, visible in zip(points, scores, strict=True)
    ]


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/models, data/real, data/annot")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    shared: Path = options.shared
    lines = ["| format | pictures | points | median px | 99 % px | most px | scores |", "|---|---|---|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        simcc = make_simcc(shared / POSE, Path(folder) / "simcc.onnx")
        rtmo = make_rtmo(shared / DETECTOR, Path(folder) / "rtmo.onnx")
        photos, frames = list(read_pictures(shared / PICTURES).values()), read_clip(shared / CLIP, 20)
        for name, pictures in (("COCO", photos), ("clip", frames)):
            people = find_people(shared, pictures)
            lines.append(f"| RTMPose | {name}, {len(people)} | {compare_pose(simcc, people)} |")
            lines.append(f"| RTMO | {name}, {len(pictures)} | {compare_rtmo(rtmo, pictures)} |")
            boxes = compare_boxes(shared, people)
            median, high = np.percentile(boxes, (50, 99))
            lines.append(f"| YOLOX | {name} | {len(boxes)} boxes | {median:.4f} | {high:.4f} | {boxes.max():.4f} | |")
        lines += ["", "| pair | COCO AP |", "|---|---|"]
        lines += [f"| {name} | {100 * value:.1f} |" for name, value in score(shared, simcc)]
    table = "\n".join([*lines, "", describe_machine()])
    print(table)
    if options.write:
        write_results("beside_rtmlib", lines, table)


if __name__ == "__main__":
    main()
