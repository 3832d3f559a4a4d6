"""OCHuman (Zhang et al., CVPR 2019): single pictures of people who hide each other, 17 joints. For judging only.

ROOT/ochuman_coco_format_val_range_0.00_1.00.json
ROOT/images/000001.jpg
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco import read_stills

SKELETON = "coco17"


def truth_file(root: Path, split: str) -> Path:
    """The file of ``split``."""
    return root / f"ochuman_coco_format_{split}_range_0.00_1.00.json"


def read(root: Path, split: str, *, empty: bool = False) -> list[Clip]:
    """The pictures of ``split`` (``val``, ``test``), a clip each; with ``empty`` all of them."""
    return read_stills(root, truth_file(root, split), root / "images", SKELETON, empty=empty)
