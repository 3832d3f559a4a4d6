"""People found, double boxes and AP with hard and with soft suppression, for several values of ``iou``.

    python -m benchmarks.suppression --shared ../shared --write
    python -m benchmarks.suppression --shared ../shared --min-score 0.4 --step 1    as detect does by default

The network runs once on each picture; only suppression differs. The pictures are COCO's of
``data/annot/coco_val_mini``, with every annotated person. A person is found by the best box that overlaps theirs by
half; a further box that overlaps a person's by 0.3 is double. Keypoints are those of TinyPose, and a person's score is
the box's times the mean of the joints'. The clip has three people in every frame. ``detect`` suppresses softly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.beside_rtmlib import CLIP, DETECTOR, PICTURES, Floats, estimate, read_clip, read_pictures
from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.evaluation.coco import score_coco
from engines.inference.detector import load_detector
from engines.inference.engine import load
from engines.inference.nms import nms, soft_nms
from engines.vision.boxes import compute_iou
from engines.vision.crop import HALF_PIXEL

POSE = "data/real/tinypose_256_192.onnx"
IOUS = (0.35, 0.45, 0.5, 0.55, 0.65, 0.75)
MIN_SCORE = 0.3
RIGHT, DOUBLE = 0.5, 0.3
FRAMES, STEP, PEOPLE = 393, 4, 3

Candidates = tuple[Floats, Floats]


def count(boxes: Floats, people: Floats) -> tuple[int, int]:
    """How many ``people`` (M, 4) are found by ``boxes`` (N, 4), best first, and how many boxes are double."""
    overlaps = compute_iou(boxes, people)
    taken: set[int] = set()
    doubles = 0
    for row in overlaps:
        free = [person for person in range(len(people)) if person not in taken and row[person] >= RIGHT]
        if free:
            taken.add(max(free, key=lambda person: float(row[person])))
        elif row.max(initial=0) >= DOUBLE:
            doubles += 1
    return len(taken), doubles


def read_people(annotations: Path) -> dict[int, Floats]:
    """The boxes (M, 4) of all people of each picture; crowds that are annotated as one are left out."""
    found: dict[int, list[list[float]]] = {}
    for person in json.loads(annotations.read_text())["annotations"]:
        x, y, width, height = person["bbox"]
        if not person["iscrowd"]:
            found.setdefault(person["image_id"], []).append([x, y, x + width, y + height])
    return {image: np.array(boxes, np.float32) for image, boxes in found.items()}


def suppress(found: Candidates, kind: str, iou: float, min_score: float) -> tuple[NDArray[np.intp], Floats]:
    """Indices of the boxes that are left, and their scores."""
    boxes, scores = found
    if kind == "soft":
        return soft_nms(boxes, scores, iou, min_score)
    kept = nms(boxes, scores, iou)
    return kept, scores[kept]


def make_row(
    kind: str,
    iou: float,
    min_score: float,
    candidates: Mapping[int, Candidates],
    keypoints: Mapping[int, NDArray[Any]],
    people: Mapping[int, Floats],
    frames: list[Candidates],
    annotations: Path,
) -> str:
    """One line of the table."""
    documents, counts = [], []
    for image, given in candidates.items():
        kept, scores = suppress(given, kind, iou, min_score)
        counts.append(count(given[0][kept], people.get(image, np.zeros((0, 4), np.float32))))
        for index, box_score in zip(kept, scores, strict=True):
            joints = keypoints[image][index] - [HALF_PIXEL, HALF_PIXEL, 0]
            score = float(box_score * joints[:, 2].mean())
            documents.append(
                {"image_id": image, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": score}
            )
    found, doubles = np.sum(counts, axis=0)
    more = sum(len(suppress(given, kind, iou, min_score)[0]) > PEOPLE for given in frames)
    return f"| {kind}, {iou} | {found} | {doubles} | {100 * score_coco(annotations, documents)['AP']:.1f} | {more} |"


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/models, data/real, data/annot")
    parser.add_argument("--min-score", type=float, default=MIN_SCORE, help="the least score of a box")
    parser.add_argument("--step", type=int, default=STEP, help="one frame of the clip in this many")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    shared: Path = options.shared
    annotations = shared / PICTURES / "person_keypoints.json"
    pictures, people = read_pictures(shared / PICTURES), read_people(annotations)
    clip = read_clip(shared / CLIP, FRAMES)[:: options.step]
    with load_detector(str(shared / DETECTOR)) as detector:
        candidates = {image: detector.detect(picture, options.min_score, 1.0) for image, picture in pictures.items()}
        frames = [detector.detect(picture, options.min_score, 1.0) for picture in clip]
    with load(str(shared / POSE)) as pose:
        keypoints = {image: estimate(pose, pictures[image], found[0]) for image, found in candidates.items()}
    total = sum(map(len, people.values()))
    lines = [
        f"| kind, `iou` | found, of {total} | double boxes | COCO AP | frames with a fourth box, of {len(frames)} |",
        "|---|---|---|---|---|",
    ]
    lines += [
        make_row(kind, iou, options.min_score, candidates, keypoints, people, frames, annotations)
        for kind in ("hard", "soft")
        for iou in IOUS
    ]
    table = "\n".join([*lines, "", describe_machine()])
    print(table)
    if options.write:
        write_results("suppression", lines, table)


if __name__ == "__main__":
    main()
