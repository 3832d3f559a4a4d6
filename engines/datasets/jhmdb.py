"""Sub-JHMDB (Jhuang et al., ICCV 2013): clips of one fully visible person, 15 joints, three splits.

The authors' own files:

    ROOT/sub_splits/catch_test_split_1.txt             lines of '<clip> 1' (training) or '<clip> 2' (testing)
    ROOT/joint_positions/catch/<clip>/joint_positions.mat
    ROOT/Rename_Images/catch/<clip>/00001.png

or, in place of the first two, one COCO-style file for each half of a split (MMPose's):

    ROOT/annotations/Sub1_train.json, Sub1_test.json

Both count pixels from 1, as Matlab does; joints and boxes are shifted to 0 here. The .mat files have no boxes: they are
computed from the joints. Those of the JSON files enclose the puppets that were fitted to the people.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Frame, Person, enclosing_box
from engines.datasets.coco_json import read_coco, read_sequences
from engines.datasets.files import WHERE, check_numbered_pictures, list_annotation_files, read_text
from engines.datasets.pictures import picture_size, sequence_pictures
from engines.errors import EngineError

SKELETON = "jhmdb15"
PICTURES = "Rename_Images"
FIRST_PX = 1
_HALVES = {"train": "1", "test": "2"}


def read(root: Path, split: int, half: str) -> list[Clip]:
    """The clips of ``half`` (``train``, ``test``) of ``split`` 1 to 3, from the JSON file if it exists, else from .mat.

    Raises :class:`EngineError` naming what is missing or broken.
    """
    path = root / "annotations" / f"Sub{split}_{half}.json"
    if path.is_file():
        return read_json_clips(root, path)
    lists = list_annotation_files(root / "sub_splits", f"*_test_split_{split}.txt")
    return [_mat_clip(root, file, name) for file in lists for name in _read_list(file, half)]


# -- JSON -------------------------------------------------------------------------------------------------------------


def read_json_clips(root: Path, path: Path, pictures: str = PICTURES) -> list[Clip]:
    """The clips of a JSON file; names of pictures in it are under ``root / pictures``."""
    clips = read_sequences(read_coco(path, SKELETON), root / pictures)
    return [replace(clip, frames=tuple(map(_shift_frame, clip.frames))) for clip in clips]


def _shift_frame(frame: Frame) -> Frame:
    return replace(frame, people=tuple(map(_shift_to_zero, frame.people)))


def _shift_to_zero(person: Person) -> Person:
    joints = person.joints.copy()
    joints[joints[:, 2] > 0, :2] -= FIRST_PX
    return Person(person.box - (FIRST_PX, FIRST_PX, 0, 0), joints, person.track)


# -- .mat -------------------------------------------------------------------------------------------------------------


def _read_list(path: Path, half: str) -> list[str]:
    """Names of clips in one of the authors' lists, without their ``.avi``."""
    names = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if words and (len(words) != 2 or words[1] not in ("0", "1", "2")):
            raise EngineError(f"{path}: line {number} is {line!r}, not a clip and 1 (training) or 2 (testing)")
        if words and words[1] == _HALVES[half]:
            names.append(words[0].removesuffix(".avi"))
    return names


def _mat_clip(root: Path, file: Path, name: str) -> Clip:
    action = file.name[: file.name.index("_test_split_")]
    folder = root / PICTURES / action / name
    return read_mat_clip(root / "joint_positions" / action / name / "joint_positions.mat", folder)


def read_mat_clip(path: Path, folder: Path) -> Clip:
    """One clip: its joints in ``path``, its pictures in ``folder``, named 00001.png and so on."""
    joints = _mat_joints(path)
    pictures = sequence_pictures(folder)
    names = [f"{folder.name}/{number:05d}.png" for number in range(1, len(joints) + 1)]
    check_numbered_pictures(path, folder.parent, names, pictures)
    size = picture_size(folder / Path(names[0]).name)
    frames = (Frame(n, name, size, (_person(joints[n - 1]),)) for n, name in enumerate(names, 1))
    return Clip(folder.name, SKELETON, pictures, tuple(frames))


def _person(joints: NDArray[np.float32]) -> Person:
    return Person(enclosing_box(joints), joints, 0)


def _mat_joints(path: Path) -> NDArray[np.float32]:
    """(n, 15, 3) px from 0, all of them annotated."""
    positions = _read_mat(path)
    if positions.ndim != 3 or positions.shape[:2] != (2, 15):
        raise EngineError(f"{path}: its 'pos_img' is {positions.shape}, not (2, 15, frames)")
    points = positions.transpose(2, 1, 0).astype(np.float32) - FIRST_PX
    return np.concatenate([points, np.full((*points.shape[:2], 1), 2, np.float32)], axis=2)


def _read_mat(path: Path) -> NDArray[Any]:
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError:
        raise EngineError(f"{path}: reading .mat files needs SciPy: pip install scipy") from None
    if not path.is_file():
        raise EngineError(f"{path}: there is no such file; {WHERE}")
    try:
        return np.asarray(loadmat(path)["pos_img"])
    except (ValueError, KeyError, TypeError, NotImplementedError, OSError) as error:
        raise EngineError(f"{path}: it is not a joint_positions.mat ({' '.join(str(error).split())})") from None
