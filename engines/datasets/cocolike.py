"""JSON files of COCO's make: ``images``, ``annotations`` and ``categories``, as COCO and many after it write them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.datasets.clips import Floats, Person
from engines.datasets.jsonfile import read_json
from engines.datasets.layout import WHERE
from engines.errors import EngineError
from engines.skeletons import SKELETONS

Told = Mapping[str, Any]

_PARTS = ("annotations", "categories", "images")


@dataclass(frozen=True)
class CocoFile:
    """One such file: its ``images``, the numbered annotations of each image's id, where the joints of ``skeleton``
    stand among those of the file, and the number of the ``category`` that they are of."""

    path: Path
    skeleton: str
    images: Sequence[Told]
    people: Mapping[Any, Sequence[tuple[int, Told]]]
    order: Sequence[int]
    category: Any = 1

    def of(self, image: Told) -> tuple[Person, ...]:
        """The people of an image who have joints and are no crowd. Raises :class:`EngineError` for a broken one."""
        told = [(number, one) for number, one in self.people.get(image["id"], ()) if _counts(one)]
        return tuple(self._person(number, one) for number, one in told)

    def field(self, number: int, told: Told, name: str) -> Any:
        """A field of the ``number``-th annotation."""
        if name not in told:
            raise EngineError(f"{self.path}: annotation {number} (id {told.get('id', 'none')}) has no {name!r}")
        return told[name]

    def _person(self, number: int, told: Told) -> Person:
        head = told.get("bbox_head")
        return Person(
            self._box(number, told),
            self._joints(number, told),
            told.get("track_id"),
            None if head is None else _corners(np.array(head, np.float64)),
            area=told.get("area"),
        )

    def _box(self, number: int, told: Told) -> Floats:
        box = np.array(self.field(number, told, "bbox"), np.float64)
        if box.shape != (4,):
            raise EngineError(f"{self.path}: annotation {number} has a 'bbox' of {box.size} numbers, 4 are wanted")
        return box

    def _joints(self, number: int, told: Told) -> np.ndarray[Any, np.dtype[np.float32]]:
        numbers = np.array(told["keypoints"], np.float32)
        if numbers.size != 3 * len(self.order):
            raise EngineError(
                f"{self.path}: annotation {number} has {numbers.size} numbers in 'keypoints', "
                f"{3 * len(self.order)} are wanted"
            )
        joints = numbers.reshape(-1, 3)[list(self.order)]
        # Coordinates of joints that nobody annotated are anything.
        return np.where(joints[:, 2:] > 0, joints, 0)


def read_coco(path: Path, skeleton: str, aliases: Mapping[str, str] | None = None) -> CocoFile:
    """A file whose people have the joints of ``skeleton``, in any order; ``aliases`` are other names for those joints.

    Raises :class:`EngineError` naming the file, and the annotation where one is broken.
    """
    if skeleton not in SKELETONS:
        raise EngineError(f"{path}: skeleton {skeleton!r} is not known; there are {', '.join(SKELETONS)}")
    if not path.is_file():
        raise EngineError(f"{path}: there is no such file; {WHERE}")
    loaded = read_json(path)
    if not isinstance(loaded, dict) or any(part not in loaded for part in _PARTS):
        raise EngineError(f"{path}: it is no annotation file of COCO's make; {', '.join(_PARTS)} are wanted")
    order = _order(path, loaded["categories"], skeleton, aliases or {})
    file = CocoFile(path, skeleton, loaded["images"], defaultdict(list), order)
    people: dict[Any, list[tuple[int, Told]]] = defaultdict(list)
    for number, told in enumerate(loaded["annotations"]):
        people[file.field(number, told, "image_id")].append((number, told))
    _check_images(path, loaded["images"])
    category = next((told["id"] for told in loaded["categories"] if "keypoints" in told and "id" in told), 1)
    return CocoFile(path, skeleton, loaded["images"], people, order, category)


def size_of(image: Told) -> tuple[int, int] | None:
    """(width, height) px, where the file says it."""
    return (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None


def regions_of(image: Told) -> tuple[Floats, ...]:
    """PoseTrack's ignored regions, polygons (P, 2) px."""
    xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    # A single polygon is written without the outer list.
    if xs and not isinstance(xs[0], list):
        xs, ys = [xs], [ys]
    return tuple(np.array([x, y], np.float64).T for x, y in zip(xs, ys, strict=True) if len(x) > 2)


def _check_images(path: Path, images: Sequence[Told]) -> None:
    for number, image in enumerate(images):
        for name in ("id", "file_name"):
            if name not in image:
                raise EngineError(f"{path}: image {number} has no {name!r}")


def _order(path: Path, categories: Sequence[Told], skeleton: str, aliases: Mapping[str, str]) -> list[int]:
    told = next((category["keypoints"] for category in categories if "keypoints" in category), None)
    wanted = SKELETONS[skeleton].joints
    if told is None:
        return list(range(len(wanted)))
    names = [aliases.get(name, name) for name in told]
    if set(names) != set(wanted) or len(names) != len(wanted):
        odd = sorted(set(wanted) - set(names)) or sorted(set(names) - set(wanted)) or names
        raise EngineError(
            f"{path}: its joints are not those of skeleton {skeleton!r} ({odd[0]!r} is on one side only); "
            "name the skeleton of this data set"
        )
    return [names.index(joint) for joint in wanted]


def _counts(told: Told) -> bool:
    return not told.get("iscrowd") and any(told.get("keypoints", ())[2::3])


def _corners(box: Floats) -> Floats:
    return np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
