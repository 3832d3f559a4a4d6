"""Draws the pictures of docs/reference/shipped.md and docs/reference/testsrc.md: ``python docs/images/draw.py``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.conditions import CONDITIONS
from engines.datasets.synthetic.scene import Scene
from engines.inference.engine import Engine, PersonWindows, load
from engines.metrics import VISIBLE
from engines.skeletons import SKELETONS

HERE = Path(__file__).resolve().parent
COCO = SKELETONS["coco17"]
TILE = (288, 216)
MOMENTS = ((0, 3.0), (1, 5.0), (3, 3.5), (8, 7.0), (12, 11.0), (21, 2.0))
"""Seeds and seconds; training never saw these seeds."""
FPS = 15
SURE = 0.25
"""Keypoints of a lower score are not drawn."""


def sheet(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Three a row, each at less than half its size."""
    tiles = [np.asarray(cv2.resize(p, TILE, interpolation=cv2.INTER_AREA), np.uint8) for p in pictures]
    return np.vstack([np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)])


def overlaid(engine: Engine, scene: Scene, time_s: float) -> NDArray[np.uint8]:
    """What the network makes of a moment."""
    signature = engine.signature
    picture = scene.at(time_s)
    offsets = range(-signature.past, signature.future + 1)
    frames = tuple(scene.at(time_s + offset / FPS).pixels for offset in offsets)
    keys = tuple((f"at {time_s} s", offset) for offset in offsets)
    window = PersonWindows(frames, keys, picture.boxes, picture.ids)
    (people,) = engine.estimate([window])
    drawn = picture.pixels.copy()
    for joints in people:
        draw_skeleton(drawn, joints)
    return drawn


def draw_skeleton(pixels: NDArray[np.uint8], joints: NDArray[np.float32]) -> None:
    """Limbs and joints of one person, the left green and the right orange."""
    places = [(int(x), int(y)) for x, y in joints[:, :2]]
    for start, end in COCO.limbs:
        if min(joints[start, 2], joints[end, 2]) > SURE:
            cv2.line(pixels, places[start], places[end], COCO.colours[end], 2, cv2.LINE_AA)
    for place, colour, score in zip(places, COCO.colours, joints[:, 2], strict=True):
        if score > SURE:
            cv2.circle(pixels, place, 4, colour, -1, cv2.LINE_AA)


def main() -> None:
    """All pictures."""
    scenes = [(Scene(seed, 4, 640, 480, noise=0.0), time_s) for seed, time_s in MOMENTS]
    with load("hrnet-small") as engine:
        drawn = sheet([overlaid(engine, scene, time_s) for scene, time_s in scenes])
    _write("testsrc.png", sheet([scene.at(time_s).pixels for scene, time_s in scenes]))
    _write("shipped.png", drawn)
    _write("conditions.jpg", conditions_sheet())


def conditions_sheet() -> NDArray[np.uint8]:
    """A row for each of the named conditions: the same people, every second picture with the truth drawn in."""
    rows = [
        np.hstack([_truth_drawn(Scene(11, 4, 400, 300, conditions=conditions), place) for place in range(4)])
        for conditions in CONDITIONS.values()
    ]
    return np.vstack(rows)


def _truth_drawn(scene: Scene, place: int) -> NDArray[np.uint8]:
    picture = scene.at(2.0 + 0.35 * place, place)
    pixels = picture.pixels.copy()
    for x, y, seen in picture.keypoints.reshape(-1, 3) if place % 2 else ():
        cv2.circle(pixels, (int(x), int(y)), 2, (0, 220, 0) if seen == VISIBLE else (0, 0, 230), -1, cv2.LINE_AA)
    return pixels


def _write(name: str, picture: NDArray[np.uint8]) -> None:
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9] if name.endswith(".png") else [cv2.IMWRITE_JPEG_QUALITY, 80]
    cv2.imwrite(str(HERE / name), picture, options)


if __name__ == "__main__":
    main()
