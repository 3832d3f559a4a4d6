"""PoseTrack 2018 and 2021: one file of COCO's make for each sequence; pictures of six digits, the first being 0.

    ROOT/annotations/train/000001_bonn_train.json           2018
    ROOT/posetrack_data/train/000001_bonn_train.json        2021
    ROOT/images/train/000001_bonn_train/000000.jpg          both: 2021 uses the pictures of 2018

Every picture of a sequence is there, also those that nobody labelled.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from engines.datasets.clips import Clip, Frame
from engines.datasets.cocolike import CocoFile, Told, read_coco, regions_of, size_of
from engines.datasets.layout import annotation_files, present
from engines.datasets.pictures import numbered_pictures, picture_size

SKELETON = "posetrack17"


def read(root: Path, split: str, annotations: str = "annotations") -> list[Clip]:
    """The sequences of ``split`` (``train``, ``val``). Raises :class:`EngineError` naming what is missing or broken."""
    return [clip for file in annotation_files(root / annotations / split) for clip in read_sequences(root, file)]


def read_sequences(root: Path, path: Path) -> list[Clip]:
    """The sequences of one file: one as published, several in files that somebody put together."""
    file = read_coco(path, SKELETON)
    folders: dict[str, list[Told]] = defaultdict(list)
    for image in file.images:
        folders[str(Path(image["file_name"]).parent)].append(image)
    return [_sequence(root, file, folder, images) for folder, images in folders.items()]


def _sequence(root: Path, file: CocoFile, folder: str, images: list[Told]) -> Clip:
    labelled = [image for image in images if image.get("is_labeled", True)]
    pictures = numbered_pictures(root / folder)
    present(file.path, root, [str(image["file_name"]) for image in labelled], pictures)
    return Clip(Path(folder).name, SKELETON, pictures, tuple(_frame(root, file, image) for image in labelled))


def _frame(root: Path, file: CocoFile, image: Told) -> Frame:
    name = str(image["file_name"])
    size = size_of(image) or picture_size(root / name)
    return Frame(int(Path(name).stem), name, size, file.of(image), regions_of(image), image["id"])
