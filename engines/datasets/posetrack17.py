"""PoseTrack 2017: one ``annolist`` file for each sequence; pictures numbered with eight digits from 1.

    ROOT/annotations/train/00098_mpii_step1_relpath_5sec.json
    ROOT/images/bonn_mpii_train_5sec/00098_mpii/00000001.jpg

The files have no boxes: they are computed from the joints, as the authors of 2018 computed theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Floats, Frame, Person, enclosing_box
from engines.datasets.coco_json import JsonObject
from engines.datasets.files import Number, check_fields, check_numbered_pictures, list_annotation_files, read_json
from engines.datasets.pictures import picture_size, sequence_pictures
from engines.errors import EngineError

SKELETON = "posetrack15"
JOINT_COUNT = 15


def read(root: Path, split: str, annotations: str = "annotations") -> list[Clip]:
    """The sequences of ``split`` (``train``, ``val``). Raises :class:`EngineError` naming what is missing or broken."""
    return [read_sequence(root, file) for file in list_annotation_files(root / annotations / split)]


def read_sequence(root: Path, path: Path) -> Clip:
    """One sequence."""
    document = read_json(path)
    check_document(path, document)
    frames = list(enumerate(document["annolist"]))
    names = [_picture_name(frame) for _, frame in frames]
    pictures = sequence_pictures((root / names[0]).parent if names else root)
    check_numbered_pictures(path, root, names, pictures)
    size = picture_size(root / names[0]) if names else (0, 0)
    labelled = tuple(
        _frame(path, number, frame, names[number], size)
        for number, frame in frames
        if unwrap(frame.get("is_labeled", 1))
    )
    return Clip(path.stem, SKELETON, pictures, labelled)


def _frame(path: Path, number: int, frame: JsonObject, name: str, size: tuple[int, int]) -> Frame:
    people = (_person(path, number, index, person) for index, person in enumerate(frame.get("annorect") or ()))
    annotated = tuple(person for person in people if person is not None)
    return Frame(int(Path(name).stem), image_name(frame), size, annotated, ignored_regions(frame))


def _person(path: Path, number: int, index: int, person: JsonObject) -> Person | None:
    """None if no joint is annotated."""
    joints = _joints(path, number, person)
    if not joints[:, 2].any():
        return None
    track = person.get("track_id")
    head = head_box(path, number, index, person)
    return Person(enclosing_box(joints), joints, None if track is None else int(unwrap(track)), head)


def _joints(path: Path, number: int, person: JsonObject) -> NDArray[np.float32]:
    joints = np.zeros((JOINT_COUNT, 3), np.float32)
    for index, point in iterate_points(path, number, person):
        joints[index] = unwrap(point["x"]), unwrap(point["y"]), 1
    return joints


def _picture_name(frame: JsonObject) -> str:
    """The path of the picture under the root: some files leave ``images/`` out."""
    name = image_name(frame)
    return name if name.startswith("images/") else f"images/{name}"


# -- the format -------------------------------------------------------------------------------------------------------


_Wrapped = Number | Annotated[list[Number], Meta(min_length=1)]


class _Point(msgspec.Struct):
    x: _Wrapped
    y: _Wrapped


class _Joint(_Point):
    id: _Wrapped
    score: _Wrapped = 0.0


class _Shape(msgspec.Struct):
    point: list[_Joint] = []


class _Region(msgspec.Struct):
    point: list[_Point]


class _Rectangle(msgspec.Struct):
    annopoints: list[_Shape] | None = None
    x1: _Wrapped | None = None
    y1: _Wrapped | None = None
    x2: _Wrapped | None = None
    y2: _Wrapped | None = None
    track_id: _Wrapped | None = None


class _Picture(msgspec.Struct):
    name: str


class _Frame(msgspec.Struct):
    image: _Picture | Annotated[list[_Picture], Meta(min_length=1)]
    annorect: list[_Rectangle] | None = None
    is_labeled: _Wrapped | bool = True
    ignore_regions: list[_Region] | None = None


class _Document(msgspec.Struct):
    annolist: list[_Frame]


def check_document(path: Path, document: Any) -> None:
    """Raise :class:`EngineError` naming the first entry of a ``document`` of 2017 that is broken."""
    if not isinstance(document, dict) or "annolist" not in document:
        raise EngineError(f"{path}: it has no 'annolist', as files of PoseTrack 2017 have")
    check_fields(path, document, _Document)


def iterate_points(path: Path, number: int, person: JsonObject) -> Iterator[tuple[int, JsonObject]]:
    """The index and the annotation of each joint of a person. Raises :class:`EngineError` for an unknown index."""
    shapes: Sequence[JsonObject] = person.get("annopoints") or ({},)
    for point in shapes[0].get("point", ()):
        index = int(unwrap(point["id"]))
        if not 0 <= index < JOINT_COUNT:
            raise EngineError(f"{path}: frame {number} has a joint of id {index}; PoseTrack 2017 has ids 0 to 14")
        yield index, point


def image_name(frame: JsonObject) -> str:
    """The name of a frame's picture as it is in the file."""
    image = frame["image"]
    return str((image[0] if isinstance(image, list) else image)["name"])


def ignored_regions(frame: JsonObject) -> tuple[Floats, ...]:
    """Polygons (P, 2) px."""
    regions = frame.get("ignore_regions") or ()
    return tuple(
        np.array([[unwrap(point["x"]), unwrap(point["y"])] for point in region["point"]], np.float64)
        for region in regions
    )


def head_box(path: Path, number: int, index: int, person: JsonObject) -> Floats:
    """(4,) x1, y1, x2, y2 px. Raises :class:`EngineError` for a person without."""
    corners = [person.get(key) for key in ("x1", "y1", "x2", "y2")]
    if None in corners:
        raise EngineError(f"{path}: person {index} of frame {number} has no 'x1', 'y1', 'x2' and 'y2' (the head box)")
    return np.array([unwrap(corner) for corner in corners])


def unwrap(value: Any) -> float:
    """A number; files of 2017 write every number as a list of one."""
    return float(value[0] if isinstance(value, list) else value)
