"""Errors of a pose network's keypoints on real people.

    python -m benchmarks.real_people --shared ../shared --models fami-small hrnet-small

The data are two clips of one person each, whose references are another network's output (BlazePose full), checked by
eye; and four photographs of COCO's validation set with twelve people annotated by hand. Boxes are the annotated ones,
or those of the reference keypoints, so that no detector affects the result. The PCK threshold is a fraction of the
longer side of the box.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.inference.engine import Engine, PersonWindows, load
from engines.metrics import find_correct
from engines.skeletons import SKELETONS

BLAZEPOSE_INDICES = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
"""Indices of COCO's 17 joints among BlazePose's 33 landmarks."""
CLIPS = {"tfjs_pose_squats": "pose_squats.full.json", "tfjs_pose_1": "pose_1.json"}
# From the outermost joints to the edge of a person: the top of the head and the toes.
MARGIN = 0.1


@dataclass(frozen=True)
class Sample:
    """A person in picture ``number`` of ``clip``: ``box`` (4,) px, ``joints`` (17, 3) x, y px and whether annotated."""

    clip: Sequence[NDArray[np.uint8]]
    number: int
    box: NDArray[np.float32]
    joints: NDArray[np.float64]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips and data/annot")
    parser.add_argument("--models", nargs="+", default=["fami-small", "hrnet-small"])
    options = parser.parse_args()
    print(f"{'network':28} {'pictures':18} {'joints':>7} {'median px':>9} {'of box':>7} {'PCK@0.2':>8} {'PCK@0.1':>8}")
    for model in options.models:
        with load(model, crop="exact") as engine:
            for name, samples in load_sets(options.shared / "data"):
                report(engine, Path(model).stem, name, samples)


def load_sets(data: Path) -> Iterator[tuple[str, Iterable[Sample]]]:
    """The clips and the photographs."""
    for clip, annotation in CLIPS.items():
        yield clip, clip_samples(data / "clips" / f"{clip}.mp4", data / "annot/tfjs" / annotation)
    yield "COCO, 4 photos", photo_samples(data / "annot/mmpose/coco")


def report(engine: Engine, model: str, name: str, samples: Iterable[Sample]) -> None:
    """One line of the table."""
    rows = [(estimate(engine, sample), sample.joints, sample.box) for sample in samples]
    found, wanted, boxes = (np.array(column) for column in zip(*rows, strict=True))
    judged = wanted[..., 2] > 0
    errors = np.linalg.norm(found[..., :2] - wanted[..., :2], axis=2)
    share = np.median((errors / (boxes[:, 2:] - boxes[:, :2]).max(1)[:, None])[judged])
    wide, narrow = (100 * find_correct(found, wanted, boxes, alpha)[judged].mean() for alpha in (0.2, 0.1))
    figures = f"{judged.sum():7} {np.median(errors[judged]):9.1f} {share:7.3f} {wide:7.1f}% {narrow:7.1f}%"
    print(f"{model:28} {name:18} {figures}", flush=True)


def estimate(engine: Engine, sample: Sample) -> NDArray[np.float32]:
    """(17, 3) of the one person."""
    offsets = range(-engine.signature.past, engine.signature.future + 1)
    numbers = [min(max(sample.number + offset, 0), len(sample.clip) - 1) for offset in offsets]
    shown = tuple(sample.clip[number] for number in numbers)
    window = PersonWindows(shown, tuple(("clip", n) for n in numbers), sample.box[None], np.ones(1, np.int64))
    ((person,),) = engine.estimate([window])
    return np.asarray(person, np.float32)


def clip_samples(video: Path, annotation: Path) -> Iterator[Sample]:
    """Every frame of a clip with its one person."""
    clip = list(frames(video))
    for number, joints in enumerate(references(annotation)):
        yield Sample(clip, number, box_around(joints), np.column_stack([joints, np.ones(17)]))


def references(path: Path) -> NDArray[np.float64]:
    """(F, 17, 2) px, from rows of 33 landmarks or from joints by name."""
    frames = json.loads(path.read_text())
    if isinstance(frames[0], list):
        return np.array(frames)[:, BLAZEPOSE_INDICES, :2]
    joints = SKELETONS["coco17"].joints
    return np.array([[[frame[joint]["x"], frame[joint]["y"]] for joint in joints] for frame in frames])


def box_around(joints: NDArray[np.float64]) -> NDArray[np.float32]:
    """(4,) px: the joints' box, widened by a share of its height."""
    low, high = joints.min(0), joints.max(0)
    margin = MARGIN * (high - low)[1]
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Every frame of a clip, BGR."""
    video = cv2.VideoCapture(str(path))
    while True:
        there, pixels = video.read()
        if not there:
            return
        yield np.asarray(pixels, np.uint8)


def photo_samples(folder: Path) -> Iterator[Sample]:
    """Every annotated person of a folder in COCO's format."""
    document = json.loads((folder / "test_coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    for person in document["annotations"]:
        if person["num_keypoints"]:
            x, y, width, height = person["bbox"]
            pixels = np.asarray(cv2.imread(str(folder / names[person["image_id"]])), np.uint8)
            box = np.array([x, y, x + width, y + height], np.float32)
            yield Sample([pixels], 0, box, np.array(person["keypoints"], np.float64).reshape(17, 3))


if __name__ == "__main__":
    main()
