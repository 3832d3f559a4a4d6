"""Sub-JHMDB (Jhuang et al., ICCV 2013): clips of one person wholly in view, 15 joints, three splits.

The authors' own files:

    ROOT/sub_splits/catch_test_split_1.txt             lines of '<clip> 1' (training) or '<clip> 2' (testing)
    ROOT/joint_positions/catch/<clip>/joint_positions.mat
    ROOT/Rename_Images/catch/<clip>/00001.png

or, in place of the first two, one file of COCO's make for each half of a split (MMPose's):

    ROOT/annotations/Sub1_train.json, Sub1_test.json

Both count pixels from 1, as Matlab does; joints and boxes are moved to 0 here. The .mat files have no boxes: they are
made of the joints. Those of the JSON files are of the puppets that were laid over the people.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Frame, Person, box_of_joints
from engines.datasets.cocolike import CocoFile, Told, read_coco, size_of
from engines.datasets.layout import WHERE, annotation_files, present
from engines.datasets.pictures import numbered_pictures, picture_size
from engines.errors import EngineError

SKELETON = "jhmdb15"
PICTURES = "Rename_Images"
FIRST_PX = 1
_HALVES = {"train": "1", "test": "2"}


def read(root: Path, split: int, half: str) -> list[Clip]:
    """The clips of ``half`` (``train``, ``test``) of ``split`` 1 to 3, from JSON where it is there, else from .mat.

    Raises :class:`EngineError` naming what is missing or broken.
    """
    path = root / "annotations" / f"Sub{split}_{half}.json"
    if path.is_file():
        return read_json_clips(root, path)
    lists = annotation_files(root / "sub_splits", f"*_test_split_{split}.txt")
    return [_mat_clip(root, file, name) for file in lists for name in _listed(file, half)]


# -- JSON -------------------------------------------------------------------------------------------------------------


def read_json_clips(root: Path, path: Path, pictures: str = PICTURES) -> list[Clip]:
    """The clips of a JSON file; names of pictures in it are under ``root / pictures``."""
    file = read_coco(path, SKELETON)
    folders: dict[str, list[Told]] = defaultdict(list)
    for image in file.images:
        folders[str(Path(image["file_name"]).parent)].append(image)
    return [_json_clip(file, root / pictures, folder, images) for folder, images in folders.items()]


def _json_clip(file: CocoFile, root: Path, folder: str, images: list[Told]) -> Clip:
    found = numbered_pictures(root / folder)
    present(file.path, root, [str(image["file_name"]) for image in images], found)
    return Clip(folder, SKELETON, found, tuple(_json_frame(file, root, image) for image in images))


def _json_frame(file: CocoFile, root: Path, image: Told) -> Frame:
    name = str(image["file_name"])
    people = tuple(_from_zero(person) for person in file.of(image))
    return Frame(int(Path(name).stem), name, size_of(image) or picture_size(root / name), people, id=image["id"])


def _from_zero(person: Person) -> Person:
    joints = person.joints.copy()
    joints[joints[:, 2] > 0, :2] -= FIRST_PX
    return Person(person.box - (FIRST_PX, FIRST_PX, 0, 0), joints, person.track)


# -- .mat -------------------------------------------------------------------------------------------------------------


def _listed(path: Path, half: str) -> list[str]:
    """Names of clips in one of the authors' lists, without their ``.avi``."""
    names = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if words and (len(words) != 2 or words[1] not in ("0", "1", "2")):
            raise EngineError(f"{path}: line {number}: {line!r}; a clip and 1 (training) or 2 (testing) are wanted")
        if words and words[1] == _HALVES[half]:
            names.append(words[0].removesuffix(".avi"))
    return names


def _mat_clip(root: Path, listed: Path, name: str) -> Clip:
    action = listed.name[: listed.name.index("_test_split_")]
    folder = root / PICTURES / action / name
    return read_mat_clip(root / "joint_positions" / action / name / "joint_positions.mat", folder)


def read_mat_clip(path: Path, folder: Path) -> Clip:
    """One clip: its joints in ``path``, its pictures in ``folder``, called 00001.png and so on."""
    joints = _mat_joints(path)
    pictures = numbered_pictures(folder)
    names = [f"{folder.name}/{number:05d}.png" for number in range(1, len(joints) + 1)]
    present(path, folder.parent, names, pictures)
    size = picture_size(folder / Path(names[0]).name)
    frames = (Frame(n, name, size, (_person(joints[n - 1]),)) for n, name in enumerate(names, 1))
    return Clip(folder.name, SKELETON, pictures, tuple(frames))


def _person(joints: NDArray[np.float32]) -> Person:
    return Person(box_of_joints(joints), joints, 0)


def _mat_joints(path: Path) -> NDArray[np.float32]:
    """(n, 15, 3) px from 0, all of them annotated."""
    positions = _pos_img(path)
    if positions.ndim != 3 or positions.shape[:2] != (2, 15):
        raise EngineError(f"{path}: its 'pos_img' is {positions.shape}, (2, 15, frames) is wanted")
    points = positions.transpose(2, 1, 0).astype(np.float32) - FIRST_PX
    return np.concatenate([points, np.full((*points.shape[:2], 1), 2, np.float32)], axis=2)


def _pos_img(path: Path) -> NDArray[Any]:
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError:
        raise EngineError(f"{path}: .mat files are read by SciPy: pip install scipy") from None
    if not path.is_file():
        raise EngineError(f"{path}: there is no such file; {WHERE}")
    try:
        return np.asarray(loadmat(path)["pos_img"])
    except (ValueError, KeyError, TypeError, NotImplementedError, OSError) as error:
        raise EngineError(f"{path}: it is no joint_positions.mat ({' '.join(str(error).split())})") from None
