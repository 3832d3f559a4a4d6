"""CrowdPose (Li et al., CVPR 2019): single pictures of people close together, 14 joints.

ROOT/json/crowdpose_trainval.json
ROOT/images/100000.jpg
"""

from __future__ import annotations

from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco import read_stills

SKELETON = "crowdpose14"
ALIASES = {"head": "head_top", "top_head": "head_top"}


def truth_file(root: Path, split: str) -> Path:
    """The file of ``split``."""
    return root / "json" / f"crowdpose_{split}.json"


def read(root: Path, split: str, *, empty: bool = False) -> list[Clip]:
    """The pictures of ``split`` (``train``, ``val``, ``trainval``, ``test``), a clip each; ``empty`` ones too."""
    return read_stills(root, truth_file(root, split), root / "images", SKELETON, ALIASES, empty=empty)
