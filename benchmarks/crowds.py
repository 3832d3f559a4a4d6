"""Accuracy and speed as people grow in number: a network of whole pictures beside the top-down default.

    python -m benchmarks.crowds inspose-small-256x160-fp32            prints a table
    python -m benchmarks.crowds EXPORT --people 1 5 --frames 6        a part of it, for a look
    python -m benchmarks.crowds EXPORT --write                        and writes benchmarks/results/crowds.json and .md

Drawn people walk in lanes of a metre, so that each one more is farther away: the thirtieth at 33 m. Both networks see
the same consecutive frames, one after the other, on one thread. InsPose finds people itself. The top-down network is
given the true boxes, which costs it nothing, and keeps features between frames as ``pose`` does; a detector would cost
it time and AP. AP is COCO's; people with fewer than four visible joints count neither as found nor as missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.datasets.synthetic.conditions import Conditions
from engines.datasets.synthetic.moments import MIN_VISIBLE
from engines.datasets.synthetic.scene import Picture, Scene
from engines.evaluation.oks import person_score
from engines.evaluation.whole_pictures import score_drawn, to_documents, truth_documents
from engines.hub.catalogue import DEFAULT_MODEL
from engines.inference.engine import Engine, PersonWindows, load
from engines.inference.single_stage import DetectedPeople, PictureEngine, load_picture_engine
from engines.metrics import VISIBLE
from engines.vision.crop import HALF_PIXEL

SIZE = (640, 360)
FPS = 30.0
CROWD = Conditions(gap_m=0.0)
Find = Callable[[Sequence[Picture], int, str], DetectedPeople]
"""The people in one picture of a scene's frames, by its index; the scene's name identifies it."""


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = _options()
    picture, top_down = load_picture_engine(options.model), load(options.top_down)
    with picture, top_down:
        rows = [_measure(people, picture, top_down, options) for people in options.people]
    result = {
        "command": f"python -m benchmarks.crowds {' '.join(sys.argv[1:])}".replace(
            options.model, Path(options.model).name
        ),
        "machine": describe_machine(),
        "load_before": round(os.getloadavg()[0], 2),
        "picture": picture.signature.name,
        "picture_px": picture.signature.input_size,
        "top_down": top_down.signature.name,
        "frames": options.frames,
        "scenes": options.scenes,
        "rows": rows,
    }
    text = table(result)
    print(text)
    if options.write:
        write_results("crowds", result, text)
    return 0


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("model", help="the folder of an exported InsPose")
    parser.add_argument("--top-down", default=DEFAULT_MODEL, help="what 'pose model=' takes")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 2, 5, 10, 20, 30])
    parser.add_argument("--scenes", type=int, default=4, help="scenes for each number of people")
    parser.add_argument("--frames", type=int, default=12, help="consecutive frames of each scene")
    return parser.parse_args()


def _measure(people: int, picture: PictureEngine, top_down: Engine, options: argparse.Namespace) -> dict[str, Any]:
    clips = [_draw(seed, people, options.frames) for seed in range(options.scenes)]
    return {
        "people": people,
        "picture": _score(clips, lambda frames, index, _: picture.estimate([frames[index].pixels])[0]),
        "top_down": _score(clips, lambda frames, index, name: _estimate_in_boxes(top_down, frames, index, name)),
    }


def _draw(seed: int, people: int, frames: int) -> list[Picture]:
    """Consecutive frames of a scene that nothing was trained on."""
    scene = Scene(seed, people, *SIZE, conditions=CROWD)
    return [scene.at(10.0 + number / FPS, number) for number in range(frames)]


def _score(clips: Sequence[Sequence[Picture]], find: Find) -> dict[str, float]:
    """AP over all frames, and the median time of one; the first frame of each scene is not timed."""
    truth, found, seconds, image = [], [], [], 0
    for number, frames in enumerate(clips):
        for index, frame in enumerate(frames):
            started = time.perf_counter()
            people = find(frames, index, f"{len(frame.boxes)}-{number}")
            seconds.append(time.perf_counter() - started if index else np.nan)
            truth += truth_documents(image, *_annotate(frame))
            found += to_documents(image, people)
            image += 1
    numbers = score_drawn(truth, found, image)
    return {"ap": numbers["AP"], "ap50": numbers["AP50"], "fps": float(1 / np.nanmedian(seconds))}


def _annotate(frame: Picture) -> tuple[Any, Any]:
    joints = frame.keypoints.copy()
    joints[..., :2] -= HALF_PIXEL
    joints[(joints[..., 2] == VISIBLE).sum(1) < MIN_VISIBLE] = 0
    return joints, frame.boxes


def _estimate_in_boxes(engine: Engine, frames: Sequence[Picture], index: int, name: str) -> DetectedPeople:
    """The top-down network's people; at the ends of the clip, its first and last frame stand for missing ones."""
    numbers = [min(max(index + offset, 0), len(frames) - 1) for offset in engine.signature.offsets]
    key = frames[index]
    window = PersonWindows(
        tuple(frames[number].pixels for number in numbers),
        tuple((name, number) for number in numbers),
        key.boxes,
        key.ids,
    )
    (joints,) = engine.estimate([window])
    scores = np.array([person_score(person, 1.0) for person in joints], np.float32)
    return DetectedPeople(key.boxes, scores, joints)


def table(result: dict[str, Any]) -> str:
    """AP, AP50 and frames per second of both, by number of people."""
    width, height = result["picture_px"]
    head = (
        f"{result['machine']}, one thread; load before: {result['load_before']}; {result['scenes']} scenes of "
        f"{result['frames']} frames of {SIZE[0]}x{SIZE[1]}; {result['picture']} at {width}x{height}, without boxes; "
        f"{result['top_down']} in true boxes, without a detector"
    )
    lines = [
        head,
        "",
        "| people | whole picture: AP | AP50 | frames/s | top-down: AP | AP50 | frames/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = [
            cell
            for one in (row["picture"], row["top_down"])
            for cell in (f"{100 * one['ap']:.1f}", f"{100 * one['ap50']:.1f}", f"{one['fps']:.1f}")
        ]
        lines.append(f"| {' | '.join([str(row['people']), *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
