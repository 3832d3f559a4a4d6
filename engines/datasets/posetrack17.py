"""PoseTrack 2017: one ``annolist`` file for each sequence; pictures of eight digits, the first being 1.

    ROOT/annotations/train/00098_mpii_step1_relpath_5sec.json
    ROOT/images/bonn_mpii_train_5sec/00098_mpii/00000001.jpg

The files name no boxes: they are made of the joints, as the authors of 2018 made theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Frame, Person, box_of_joints
from engines.datasets.cocolike import Told
from engines.datasets.jsonfile import read_json
from engines.datasets.layout import annotation_files, present
from engines.datasets.pictures import numbered_pictures, picture_size
from engines.errors import EngineError
from engines.skeletons import SKELETONS

SKELETON = "posetrack15"


def read(root: Path, split: str, annotations: str = "annotations") -> list[Clip]:
    """The sequences of ``split`` (``train``, ``val``). Raises :class:`EngineError` naming what is missing or broken."""
    return [read_sequence(root, file) for file in annotation_files(root / annotations / split)]


def read_sequence(root: Path, path: Path) -> Clip:
    """One sequence."""
    loaded = read_json(path)
    if not isinstance(loaded, dict) or not isinstance(loaded.get("annolist"), list):
        raise EngineError(f"{path}: it has no 'annolist', as the files of PoseTrack 2017 have")
    frames = list(enumerate(loaded["annolist"]))
    names = [_name(path, number, told) for number, told in frames]
    folder = (root / names[0]).parent if names else root
    pictures = numbered_pictures(folder)
    present(path, root, names, pictures)
    labelled = [(number, told) for number, told in frames if _one(told.get("is_labeled", 1))]
    size = picture_size(root / names[0]) if names else (0, 0)
    return Clip(
        path.stem,
        SKELETON,
        pictures,
        tuple(_frame(path, number, told, names[number], size) for number, told in labelled),
    )


def _frame(path: Path, number: int, told: Told, name: str, size: tuple[int, int]) -> Frame:
    people = [_person(path, number, place, one) for place, one in enumerate(told.get("annorect") or ())]
    regions = (region["point"] for region in told.get("ignore_regions") or ())
    ignored = tuple(np.array([[_one(point["x"]), _one(point["y"])] for point in region]) for region in regions)
    seen = tuple(person for person in people if person is not None)
    return Frame(int(Path(name).stem), _as_told(told), size, seen, ignored)


def _person(path: Path, number: int, place: int, told: Told) -> Person | None:
    """None where nobody marked a joint."""
    joints = _joints(path, number, told)
    if not joints[:, 2].any():
        return None
    absent = [key for key in ("x1", "y1", "x2", "y2") if key not in told]
    if absent:
        raise EngineError(f"{path}: person {place} of frame {number} has no {absent[0]!r} (the box of the head)")
    head = np.array([_one(told[key]) for key in ("x1", "y1", "x2", "y2")])
    track = told.get("track_id")
    return Person(box_of_joints(joints), joints, None if track is None else int(_one(track)), head)


def _joints(path: Path, number: int, told: Told) -> NDArray[np.float32]:
    joints = np.zeros((len(SKELETONS[SKELETON]), 3), np.float32)
    shapes: Sequence[Told] = told.get("annopoints") or ({},)
    for point in shapes[0].get("point", ()):
        place = int(_one(point["id"]))
        if not 0 <= place < len(joints):
            raise EngineError(f"{path}: frame {number} has a joint of id {place}; PoseTrack 2017 counts 0 to 14")
        joints[place] = _one(point["x"]), _one(point["y"]), 1
    return joints


def _name(path: Path, number: int, told: Told) -> str:
    """Where the picture lies under the root: some files leave ``images/`` out."""
    try:
        name = _as_told(told)
    except (KeyError, IndexError, TypeError):
        raise EngineError(f"{path}: frame {number} has no 'image' with a 'name'") from None
    return name if name.startswith("images/") else f"images/{name}"


def _as_told(told: Told) -> str:
    image = told["image"]
    return str((image[0] if isinstance(image, list) else image)["name"])


def _one(value: Any) -> float:
    """Every number is written as a list of one."""
    return float(value[0] if isinstance(value, list) else value)
