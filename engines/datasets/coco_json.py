"""COCO-style JSON files: ``images``, ``annotations`` and ``categories``, as in COCO and many later data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from engines.datasets.clips import Clip, Floats, Frame, Person
from engines.datasets.files import WHERE, Id, Number, check_fields, check_numbered_pictures, read_json
from engines.datasets.pictures import picture_size, sequence_pictures
from engines.datasets.videos import video_size
from engines.errors import EngineError
from engines.skeletons import SKELETONS

JsonObject = Mapping[str, Any]
Annotations = Mapping[Any, Sequence[tuple[int, JsonObject]]]
"""The annotations of each image's id, with their numbers in the file."""

_PARTS = ("annotations", "categories", "images")


class _Image(msgspec.Struct):
    id: Id
    file_name: str = ""
    width: Number | None = None
    height: Number | None = None
    is_labeled: bool | int = True
    ignore_regions_x: list[Number | list[Number]] | None = None
    ignore_regions_y: list[Number | list[Number]] | None = None


class _Annotation(msgspec.Struct):
    image_id: Id | msgspec.UnsetType = msgspec.UNSET
    bbox: list[Number] = []
    bbox_head: list[Number] | None = None
    keypoints: list[Number] = []
    scores: list[Number] | None = None
    iscrowd: bool | int = 0
    area: Annotated[float, Meta(ge=0, le=1e14)] | None = None
    track_id: int | None = None


class _Category(msgspec.Struct):
    id: Id = 1
    keypoints: list[str] = []


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def check_document(path: Path, document: Any) -> None:
    """Raise :class:`EngineError` naming the first entry of a COCO-style ``document`` with a field of a wrong type."""
    if not isinstance(document, dict) or any(part not in document for part in _PARTS):
        raise EngineError(f"{path}: it is not a COCO-style annotation file, which has {', '.join(_PARTS)}")
    check_fields(path, document, _Document)
    first: dict[Id, int] = {}
    for number, image in enumerate(document["images"]):
        if type(image["id"]) is not type(document["images"][0]["id"]):
            raise EngineError(f"{path}: image {number} has id {image['id']!r}, the others of another type")
        if first.setdefault(image["id"], number) != number:
            raise EngineError(f"{path}: images {first[image['id']]} and {number} both have id {image['id']!r}")
        if not all(len(x) == len(y) for x, y in _regions(image)):
            raise EngineError(f"{path}: image {number} has 'ignore_regions' of different lengths in x and in y")


@dataclass(frozen=True)
class CocoFile:
    """A COCO-style file. ``order`` holds the index in the file of each joint of ``skeleton``, ``category`` the id of
    the category that has these joints."""

    path: Path
    skeleton: str
    images: Sequence[JsonObject]
    annotations: Annotations
    order: Sequence[int]
    category: Any = 1

    def people(self, image: JsonObject, *, with_unlabelled: bool = False) -> tuple[Person, ...]:
        """The people of an image who have joints and are not a crowd; ``with_unlabelled`` adds those without joints.

        Raises :class:`EngineError` for a broken one.
        """
        numbered = self.annotations.get(image["id"], ())
        is_wanted = _is_person if with_unlabelled else _has_joints
        return tuple(self._person(number, annotation) for number, annotation in numbered if is_wanted(annotation))

    def field(self, number: int, annotation: JsonObject, name: str) -> Any:
        """A field of the annotation with this number."""
        return get_field(self.path, number, annotation, name)

    def _person(self, number: int, annotation: JsonObject) -> Person:
        head = annotation.get("bbox_head")
        return Person(
            self._box(number, annotation),
            self._joints(number, annotation),
            annotation.get("track_id"),
            None if head is None else self._head(number, head),
            area=annotation.get("area"),
        )

    def _box(self, number: int, annotation: JsonObject) -> Floats:
        box = np.array(self.field(number, annotation, "bbox"), np.float64)
        if box.shape != (4,):
            raise EngineError(f"{self.path}: annotation {number} has a 'bbox' of {box.size} numbers, not 4")
        return box

    def _head(self, number: int, head: Sequence[float]) -> Floats:
        if len(head) != 4:
            raise EngineError(f"{self.path}: annotation {number} has a 'bbox_head' of {len(head)} numbers, not 4")
        return _corners(np.array(head, np.float64))

    def _joints(self, number: int, annotation: JsonObject) -> np.ndarray[Any, np.dtype[np.float32]]:
        numbers = np.array(annotation["keypoints"], np.float32)
        if numbers.size != 3 * len(self.order):
            raise EngineError(
                f"{self.path}: annotation {number} has {numbers.size} numbers in 'keypoints', not {3 * len(self.order)}"
            )
        joints = numbers.reshape(-1, 3)[list(self.order)]
        # Coordinates of joints without annotation are arbitrary.
        return np.where(joints[:, 2:] > 0, joints, 0)


def read_coco(path: Path, skeleton: str, aliases: Mapping[str, str] | None = None) -> CocoFile:
    """A file whose people have the joints of ``skeleton``, in any order; ``aliases`` maps other names to those joints.

    Raises :class:`EngineError` naming the file, and the annotation if one is broken.
    """
    if skeleton not in SKELETONS:
        raise EngineError(f"{path}: there is no skeleton {skeleton!r}; take one of {', '.join(SKELETONS)}")
    if not path.exists():
        raise EngineError(f"{path}: there is no such file; {WHERE}")
    document = read_json(path)
    check_document(path, document)
    order = _joint_order(path, document["categories"], skeleton, aliases or {})
    annotations = group_by_image(path, document["annotations"])
    _check_images(path, document["images"])
    categories = (one["id"] for one in document["categories"] if "keypoints" in one and "id" in one)
    return CocoFile(path, skeleton, document["images"], annotations, order, next(categories, 1))


def read_sequences(file: CocoFile, root: Path, *, only_labelled: bool = False) -> list[Clip]:
    """The clips of a file whose images are numbered pictures, ``clip/000012.jpg``, or frames of videos under ``root``.

    ``only_labelled`` leaves out images with ``is_labeled`` false. Raises :class:`EngineError` for missing pictures.
    """
    clips: dict[str, list[JsonObject]] = {}
    for image in file.images:
        frames = clips.setdefault(str(Path(image["file_name"]).parent), [])
        if not only_labelled or image.get("is_labeled", True):
            frames.append(image)
    return [_sequence(file, root, name, images) for name, images in clips.items()]


def _sequence(file: CocoFile, root: Path, name: str, images: Sequence[JsonObject]) -> Clip:
    pictures = sequence_pictures(root / name)
    check_numbered_pictures(file.path, root, [str(image["file_name"]) for image in images], pictures)
    return Clip(name, file.skeleton, pictures, tuple(_frame(file, root, image) for image in images))


def _frame(file: CocoFile, root: Path, image: JsonObject) -> Frame:
    name = str(image["file_name"])
    size = image_size(image) or _size_on_disk(root / name)
    return Frame(int(Path(name).stem), name, size, file.people(image), ignored_regions(image), image["id"])


def _size_on_disk(path: Path) -> tuple[int, int]:
    return video_size(path.parent) if path.parent.is_file() else picture_size(path)


def group_by_image(path: Path, annotations: Sequence[JsonObject]) -> Annotations:
    """Annotations by their ``image_id``. Raises :class:`EngineError` for one without it."""
    groups: dict[Any, list[tuple[int, JsonObject]]] = defaultdict(list)
    for number, annotation in enumerate(annotations):
        groups[get_field(path, number, annotation, "image_id")].append((number, annotation))
    return groups


def get_field(path: Path, number: int, annotation: JsonObject, name: str) -> Any:
    """A field of the annotation with this number in ``path``. Raises :class:`EngineError` if it is missing."""
    if name not in annotation:
        raise EngineError(f"{path}: annotation {number} (id {annotation.get('id', 'none')}) has no {name!r}")
    return annotation[name]


def image_size(image: JsonObject) -> tuple[int, int] | None:
    """(width, height) px, if the file has them."""
    return (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None


def ignored_regions(image: JsonObject) -> tuple[Floats, ...]:
    """PoseTrack's ignored regions, polygons (P, 2) px."""
    return tuple(np.array([x, y], np.float64).T for x, y in _regions(image) if len(x) > 2)


def _regions(image: JsonObject) -> list[tuple[list[float], list[float]]]:
    xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    # A single polygon is written without the outer list.
    if xs and not isinstance(xs[0], list):
        xs, ys = [xs], [ys]
    return list(zip_longest(xs, ys, fillvalue=[]))


def _check_images(path: Path, images: Sequence[JsonObject]) -> None:
    for number, image in enumerate(images):
        if "file_name" not in image:
            raise EngineError(f"{path}: image {number} has no 'file_name'")


def _joint_order(path: Path, categories: Sequence[JsonObject], skeleton: str, aliases: Mapping[str, str]) -> list[int]:
    in_file = next((category["keypoints"] for category in categories if "keypoints" in category), None)
    wanted = SKELETONS[skeleton].joints
    if in_file is None:
        return list(range(len(wanted)))
    names = [aliases.get(name, name) for name in in_file]
    if set(names) != set(wanted) or len(names) != len(wanted):
        odd = sorted(set(wanted) - set(names)) or sorted(set(names) - set(wanted)) or names
        raise EngineError(
            f"{path}: its joints are not those of skeleton {skeleton!r} (only one of them has {odd[0]!r}); "
            "give the skeleton of this data set"
        )
    return [names.index(joint) for joint in wanted]


def _has_joints(annotation: JsonObject) -> bool:
    return not annotation.get("iscrowd") and any(annotation.get("keypoints", ())[2::3])


def _is_person(annotation: JsonObject) -> bool:
    return not annotation.get("iscrowd") and bool(annotation.get("keypoints"))


def _corners(box: Floats) -> Floats:
    return np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
