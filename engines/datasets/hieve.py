"""HiEve, Human in Events (Lin et al., 2020): crowds filmed by surveillance cameras, 14 joints.

    ROOT/annotations/hm_in_fighting1/000000.xml        one for each frame, the first being 0
    ROOT/videos/hm_in_fighting1.mp4                    or ROOT/images/hm_in_fighting1/000000.jpg

Read as the authors describe their files (humaninevents.org, Format Description): each ``object`` has a ``name`` (its
track, ``P-1``) and a ``bndbox`` with corners and joints, ``<Nose>928,185,0</Nose>``: x, y, and 0 for a visible joint, 1
for a hidden one, -1 for one that nobody annotated. The data set itself is given to registered users only, so this was
run on files written after that description, not on the real ones.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Frame, Person, Source, VideoFrame
from engines.datasets.layout import WHERE, annotation_files, present
from engines.datasets.pictures import numbered_pictures
from engines.datasets.videos import frame_times
from engines.errors import EngineError
from engines.skeletons import SKELETONS

SKELETON = "hieve14"
_PLACES = {joint: place for place, joint in enumerate(SKELETONS[SKELETON].joints)}
_VISIBILITY = {0: 2, 1: 1, -1: 0}


def read(root: Path, clips: Collection[str] = ()) -> list[Clip]:
    """These of the clips under ``root``; all of them where none is named. Raises :class:`EngineError`."""
    folders = [folder for folder in annotation_files(root / "annotations", "*") if folder.is_dir()]
    if unknown := set(clips) - {folder.name for folder in folders}:
        raise EngineError(f"{root / 'annotations'}: there is no clip {min(unknown)!r}; {WHERE}")
    return [_clip(root, folder) for folder in folders if not clips or folder.name in clips]


def _clip(root: Path, folder: Path) -> Clip:
    files = annotation_files(folder, "*.xml")
    pictures = _pictures(root, folder.name)
    present(folder, root, [f"{folder.name}/{file.stem}" for file in files], pictures)
    return Clip(folder.name, SKELETON, pictures, tuple(_frame(file) for file in files))


def _pictures(root: Path, name: str) -> Mapping[int, Source]:
    video = root / "videos" / f"{name}.mp4"
    if not video.is_file():
        return numbered_pictures(root / "images" / name)
    return {number: VideoFrame(video, number) for number in range(len(frame_times(video)))}


def _frame(path: Path) -> Frame:
    root = _parsed(path)
    size = (int(_number(path, root, "size/width")), int(_number(path, root, "size/height")))
    people = (_person(path, number, told) for number, told in enumerate(root.findall("object")))
    return Frame(
        int(path.stem), f"{path.parent.name}/{path.stem}", size, tuple(p for p in people if p.joints[:, 2].any())
    )


def _parsed(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise EngineError(f"{path}: it is no XML ({error})") from None


def _person(path: Path, number: int, told: Element) -> Person:
    box = told.find("bndbox")
    if box is None:
        raise EngineError(f"{path}: object {number} has no 'bndbox'")
    left, top, right, bottom = (_number(path, box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    digits = "".join(filter(str.isdigit, told.findtext("name", "")))
    joints = _joints(path, number, box)
    return Person(np.array([left, top, right - left, bottom - top]), joints, int(digits) if digits else None)


def _joints(path: Path, number: int, box: Element) -> NDArray[np.float32]:
    joints = np.zeros((len(_PLACES), 3), np.float32)
    for child in box:
        place = _PLACES.get(child.tag.lower().replace("-", "_"))
        if place is not None:
            joints[place] = _joint(path, number, child)
    return joints


def _joint(path: Path, number: int, told: Element) -> tuple[float, float, int]:
    try:
        x, y, flag = (float(value) for value in (told.text or "").split(","))
        visibility = _VISIBILITY[int(flag)]
    except (ValueError, KeyError):
        raise EngineError(
            f"{path}: object {number}: {told.tag} is {told.text!r}; x, y and a flag of 0, 1 or -1 are wanted"
        ) from None
    return (x, y, visibility) if visibility else (0, 0, 0)


def _number(path: Path, told: Element, name: str) -> float:
    try:
        return float(told.findtext(name, ""))
    except ValueError:
        raise EngineError(f"{path}: {told.tag} has no number {name!r}") from None
