"""HiEve, Human in Events (Lin et al., 2020): crowds filmed by surveillance cameras, 14 joints.

    ROOT/annotations/hm_in_fighting1/000000.xml        one for each frame, from 0
    ROOT/videos/hm_in_fighting1.mp4                    or ROOT/images/hm_in_fighting1/000000.jpg

The format follows the authors' description (humaninevents.org, Format Description): each ``object`` has a ``name`` (its
track, ``P-1``) and a ``bndbox`` with corners and joints, ``<Nose>928,185,0</Nose>``: x, y, and 0 for a visible joint, 1
for a hidden one, -1 for one without annotation. The data set is given to registered users only; this reader has been
tested on files written after that description, not on the original ones.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Frame, Person
from engines.datasets.files import WHERE, check_numbered_pictures, list_annotation_files
from engines.datasets.pictures import sequence_pictures
from engines.errors import EngineError
from engines.formats.files import FormatError, read_bytes
from engines.skeletons import SKELETONS

SKELETON = "hieve14"
_INDICES = {joint: index for index, joint in enumerate(SKELETONS[SKELETON].joints)}
_MAX_BYTES = 16 * 1024 * 1024
_VISIBILITY = {0: 2, 1: 1, -1: 0}


def read(root: Path, clips: Collection[str] = ()) -> list[Clip]:
    """The clips under ``root`` with these names; all of them if ``clips`` is empty. Raises :class:`EngineError`."""
    folders = [folder for folder in list_annotation_files(root / "annotations", "*") if folder.is_dir()]
    if unknown := set(clips) - {folder.name for folder in folders}:
        raise EngineError(f"{root / 'annotations'}: there is no clip {min(unknown)!r}; {WHERE}")
    return [_clip(root, folder) for folder in folders if not clips or folder.name in clips]


def _clip(root: Path, folder: Path) -> Clip:
    files = list_annotation_files(folder, "*.xml")
    video = root / "videos" / f"{folder.name}.mp4"
    pictures = sequence_pictures(video if video.is_file() else root / "images" / folder.name)
    check_numbered_pictures(folder, root, [f"{folder.name}/{file.stem}" for file in files], pictures)
    return Clip(folder.name, SKELETON, pictures, tuple(_frame(file) for file in files))


def _frame(path: Path) -> Frame:
    root = _parse(path)
    size = (int(_number(path, root, "size/width")), int(_number(path, root, "size/height")))
    people = (_person(path, number, element) for number, element in enumerate(root.findall("object")))
    annotated = tuple(person for person in people if person.joints[:, 2].any())
    return Frame(int(path.stem), f"{path.parent.name}/{path.stem}", size, annotated)


def _parse(path: Path) -> Element:
    try:
        return ElementTree.fromstring(read_bytes(path, _MAX_BYTES))
    except (FormatError, ElementTree.ParseError) as error:
        raise EngineError(f"{path}: it is not valid XML ({error})") from None


def _person(path: Path, number: int, element: Element) -> Person:
    box = element.find("bndbox")
    if box is None:
        raise EngineError(f"{path}: object {number} has no 'bndbox'")
    left, top, right, bottom = (_number(path, box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    digits = "".join(filter(str.isdigit, element.findtext("name", "")))
    joints = _joints(path, number, box)
    return Person(np.array([left, top, right - left, bottom - top]), joints, int(digits) if digits else None)


def _joints(path: Path, number: int, box: Element) -> NDArray[np.float32]:
    joints = np.zeros((len(_INDICES), 3), np.float32)
    for child in box:
        index = _INDICES.get(child.tag.lower().replace("-", "_"))
        if index is not None:
            joints[index] = _joint(path, number, child)
    return joints


def _joint(path: Path, number: int, element: Element) -> tuple[float, float, int]:
    try:
        x, y, flag = (float(value) for value in (element.text or "").split(","))
        visibility = _VISIBILITY[int(flag)]
    except (ValueError, KeyError):
        raise EngineError(
            f"{path}: object {number}: {element.tag} is {element.text!r}, not x, y and a flag of 0, 1 or -1"
        ) from None
    return (x, y, visibility) if visibility else (0, 0, 0)


def _number(path: Path, element: Element, name: str) -> float:
    try:
        return float(element.findtext(name, ""))
    except ValueError:
        raise EngineError(f"{path}: {element.tag} has no number {name!r}") from None
