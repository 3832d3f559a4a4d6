"""COCO keypoints: single pictures. As windows they are frozen: the picture repeated, by the rule for borders.

    ROOT/annotations/person_keypoints_train2017.json
    ROOT/train2017/000000000036.jpg

CrowdPose and OCHuman are told apart by their joints and by where their files lie (:mod:`engines.datasets.crowdpose`,
:mod:`engines.datasets.ochuman`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engines.datasets.clips import Clip, Frame, PictureFile
from engines.datasets.cocolike import CocoFile, Told, read_coco, size_of
from engines.datasets.layout import check_present
from engines.datasets.pictures import picture_size

SKELETON = "coco17"


def truth_file(root: Path, split: str) -> Path:
    """The file of ``split``."""
    return root / "annotations" / f"person_keypoints_{split}.json"


def read(root: Path, split: str, *, empty: bool = False) -> list[Clip]:
    """The pictures of ``split`` (``train2017``, ``val2017``) with people in them, a clip each; with ``empty`` all of
    them. Raises :class:`EngineError` naming what is missing or broken."""
    return read_stills(root, truth_file(root, split), root / split, SKELETON, empty=empty)


def read_stills(
    root: Path,
    path: Path,
    folder: Path,
    skeleton: str,
    aliases: Mapping[str, str] | None = None,
    *,
    empty: bool = False,
) -> list[Clip]:
    """The pictures in ``folder`` that the file ``path`` has people in, or all that it knows."""
    file = read_coco(path, skeleton, aliases)
    frames = ((image, _frame(file, folder, image, empty=empty)) for image in file.images)
    peopled = [(image, frame) for image, frame in frames if frame.people or empty]
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set[str]()
    check_present(path, root, [str(image["file_name"]) for image, _ in peopled], there)
    return [
        Clip(frame.name, skeleton, {0: PictureFile(folder / str(image["file_name"]))}, (frame,))
        for image, frame in peopled
    ]


def _frame(file: CocoFile, folder: Path, image: Told, *, empty: bool) -> Frame:
    name = str(image["file_name"])
    people = file.of(image)
    size = size_of(image) or (picture_size(folder / name) if people or empty else (0, 0))
    return Frame(0, name, size, people, id=image["id"])
