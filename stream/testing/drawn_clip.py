"""A clip of drawn people with ground truth, to score readers of files and streams exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.scene import Scene
from engines.skeletons import SKELETONS
from stream.evaluation.ground_truth import annotate
from stream.testing.videos import write_number, write_video


def write_drawn(clip: Path, truth: Path, scene: Scene, frames: int, fps: int) -> None:
    """Draw ``frames`` of ``scene`` into an H.264 ``clip`` and write COCO annotations of them to ``truth``.

    Each frame contains its number (:func:`~stream.testing.videos.read_number`), as does its ``file_name``. There is one
    key frame per second, which bounds the wait of a reader that joins a stream of it.
    """
    pictures: list[NDArray[np.uint8]] = []
    people = []
    for number in range(frames):
        picture = scene.at(number / fps, number)
        write_number(picture.pixels, number)
        pictures.append(picture.pixels)
        people += [{**row, "image_id": number} for row in annotate(picture)]
    write_video(clip, pictures, fps=fps, options={"g": str(fps), "bf": "0"})
    images = [
        {"id": number, "file_name": f"{number:06d}.jpg", "width": scene.width, "height": scene.height}
        for number in range(frames)
    ]
    category = {"id": 1, "name": "person", "keypoints": SKELETONS["coco17"].joints}
    numbered = [{**row, "id": place} for place, row in enumerate(people, 1)]
    truth.write_text(json.dumps({"images": images, "annotations": numbered, "categories": [category]}))
