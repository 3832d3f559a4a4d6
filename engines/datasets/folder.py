"""Your own data: videos, folders of numbered pictures or photos, and one COCO-style JSON file.

ROOT/annotations.json
ROOT/walk.mp4                                      its images are named walk.mp4/000012: frame 12, counted from 0
ROOT/shots/000012.jpg                              its images are named shots/000012.jpg
ROOT/images/dog.jpg                                a photo on its own, named dog.jpg
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco_json import CocoFile, read_coco, read_sequences
from engines.datasets.stills import StillLayout
from engines.errors import EngineError

PHOTOS = "images"
"""The folder of photos under the root."""


def read(root: Path, annotations: str, skeleton: str) -> list[Clip]:
    """The clips that ``annotations``, a file under ``root``, refers to.

    Raises :class:`EngineError` naming what is missing or broken.
    """
    file = read_coco(root / annotations, skeleton)
    if _has_photos(file, root):
        return StillLayout(annotations, PHOTOS, skeleton).read(root, "", with_empty=True)
    return read_sequences(file, root)


def find_annotations(root: Path) -> str:
    """The name of the only JSON file in ``root``. Raises :class:`EngineError` if there is none, or several."""
    found = sorted(path.name for path in root.glob("*.json"))
    if len(found) != 1:
        has = f"it has {', '.join(found[:4])}" if found else "it has no JSON file"
        raise EngineError(f"data set folder: give the annotation file under {root} (--split FILE); {has}")
    return found[0]


def _has_photos(file: CocoFile, root: Path) -> bool:
    """True if the first picture has no folder in its name and lies in ``root/images``, not in ``root``."""
    name = str(file.images[0]["file_name"]) if file.images else ""
    return bool(name) and "/" not in name and not (root / name).exists() and (root / PHOTOS / name).is_file()
