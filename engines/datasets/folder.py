"""Your own data: videos or folders of numbered pictures, and one COCO-style JSON file.

ROOT/annotations.json
ROOT/walk.mp4                                      its images are named walk.mp4/000012: frame 12, counted from 0
ROOT/shots/000012.jpg                              its images are named shots/000012.jpg
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco_json import read_coco, read_sequences


def read(root: Path, annotations: str, skeleton: str) -> list[Clip]:
    """The clips that ``annotations``, a file under ``root``, refers to.

    Raises :class:`EngineError` naming what is missing or broken.
    """
    return read_sequences(read_coco(root / annotations, skeleton), root)
