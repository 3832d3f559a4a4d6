"""OCHuman (Zhang et al., CVPR 2019): single pictures of people who hide each other, 17 joints. For judging only.

ROOT/ochuman_coco_format_val_range_0.00_1.00.json
ROOT/images/000001.jpg
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco import read_stills

SKELETON = "coco17"


def read(root: Path, split: str) -> list[Clip]:
    """The pictures of ``split`` (``val``, ``test``), a clip each."""
    path = root / f"ochuman_coco_format_{split}_range_0.00_1.00.json"
    return read_stills(root, path, root / "images", SKELETON)
