"""How far a pose network's keypoints lie from the references of two real clips.

    python benchmarks/real_people.py --shared ../shared --models tiny

The references are another network's output (BlazePose full), which was looked at and sits on the joints. Boxes are
those of the reference keypoints, so that no detector is judged along with the network. PCK is within a share of the
longer side of that box.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Engine, PersonWindows, load
from engines.metrics import correct
from engines.skeletons import SKELETONS

BLAZEPOSE_OF_COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
"""Where COCO's 17 joints stand among BlazePose's 33 landmarks."""
CLIPS = {"tfjs_pose_squats": "pose_squats.full.json", "tfjs_pose_1": "pose_1.json"}
# From the outermost joints to the edge of a person: the top of the head and the toes.
MARGIN = 0.1


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips and data/annot/tfjs")
    parser.add_argument("--models", nargs="+", default=["tiny"])
    told = parser.parse_args()
    print(f"{'network':24} {'clip':20} {'median px':>9} {'of box':>7} {'PCK@0.2':>8} {'PCK@0.1':>8}")
    for model in told.models:
        with load(model) as engine:
            for clip, annotation in CLIPS.items():
                report(engine, Path(model).stem, told.shared / "data", clip, annotation)


def report(engine: Engine, name: str, data: Path, clip: str, annotation: str) -> None:
    """One line of the table."""
    wanted = references(data / "annot/tfjs" / annotation)
    boxes = np.array([box_around(joints) for joints in wanted], np.float32)
    found = np.array(
        [estimate(engine, *pair) for pair in zip(frames(data / "clips" / f"{clip}.mp4"), boxes, strict=True)]
    )
    errors = np.linalg.norm(found[..., :2] - wanted, axis=2)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    near = [100 * correct(found, wanted, boxes, alpha).mean() for alpha in (0.2, 0.1)]
    share = np.median(errors / sides[:, None])
    print(f"{name:24} {clip:20} {np.median(errors):9.1f} {share:7.3f} {near[0]:7.1f}% {near[1]:7.1f}%", flush=True)


def references(path: Path) -> NDArray[np.float64]:
    """(F, 17, 2) px, from rows of 33 landmarks or from joints by name."""
    told = json.loads(path.read_text())
    if isinstance(told[0], list):
        return np.array(told)[:, BLAZEPOSE_OF_COCO, :2]
    return np.array(
        [[[frame[joint]["x"], frame[joint]["y"]] for joint in SKELETONS["coco17"].joints] for frame in told]
    )


def box_around(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) px: the joints' box, widened by a share of its height."""
    low, high = joints.min(0), joints.max(0)
    margin = MARGIN * (high - low)[1]
    return np.concatenate([low - margin, high + margin])


def frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Every frame of a clip, BGR."""
    video = cv2.VideoCapture(str(path))
    while True:
        there, pixels = video.read()
        if not there:
            return
        yield np.asarray(pixels, np.uint8)


def estimate(engine: Engine, pixels: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(17, 3) of the one person."""
    window = PersonWindows((pixels,), (("clip", 0),), box[None], np.ones(1, np.int64))
    ((person,),) = engine.estimate([window])
    return np.asarray(person, np.float32)


if __name__ == "__main__":
    main()
