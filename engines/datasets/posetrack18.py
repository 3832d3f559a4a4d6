"""PoseTrack 2018 and 2021: one COCO-style file for each sequence; pictures numbered with six digits from 0.

    ROOT/annotations/train/000001_bonn_train.json           2018
    ROOT/posetrack_data/train/000001_bonn_train.json        2021
    ROOT/images/train/000001_bonn_train/000000.jpg          both: 2021 uses the pictures of 2018

All pictures of a sequence are there, also the unlabelled ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engines.datasets.clips import Clip
from engines.datasets.coco_json import read_coco, read_sequences
from engines.datasets.files import list_annotation_files

SKELETON = "posetrack17"


def read(root: Path, split: str, annotations: str = "annotations") -> list[Clip]:
    """The sequences of ``split`` (``train``, ``val``). Raises :class:`EngineError` naming what is missing or broken."""
    files = list_annotation_files(root / annotations / split)
    return [clip for file in files for clip in read_file(root, file)]


def read_file(root: Path, path: Path) -> list[Clip]:
    """The sequences of one file: one as published, several in merged files."""
    clips = read_sequences(read_coco(path, SKELETON), root, only_labelled=True)
    return [replace(clip, name=Path(clip.name).name) for clip in clips]
