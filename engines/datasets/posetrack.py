"""PoseTrack's files: 2018 and 2021 (COCO-like JSON) and 2017 (``annolist``), annotations and results alike.

Coordinates stay as the files have them: pixels by index, the centre of the first being 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.datasets.jsonfile import read_json
from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.errors import EngineError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledFrame:
    """One frame of an annotation file: its ``file`` as the data set names it, and its people."""

    file: str
    people: Annotated


@dataclass(frozen=True)
class PredictedFrame:
    """One frame of a result file."""

    file: str
    people: Predicted


def read_annotations(path: Path) -> list[LabelledFrame]:
    """Every labelled frame of one sequence. Raises :class:`EngineError` naming the file and the annotation."""
    loaded = _load(path)
    if "annolist" in loaded:
        return [_labelled_2017(path, number, told) for number, told in enumerate(loaded["annolist"])]
    joints, frames, people = _parts(path, loaded)
    return [
        LabelledFrame(str(frame["file_name"]), _annotated(path, frame, people[frame["id"]], joints))
        for frame in frames
        if frame.get("is_labeled", True)
    ]


def read_predictions(path: Path) -> list[PredictedFrame]:
    """Every frame of one result file. Raises :class:`EngineError` naming the file and the annotation."""
    loaded = _load(path)
    if "annolist" in loaded:
        return [_predicted_2017(path, number, told) for number, told in enumerate(loaded["annolist"])]
    joints, frames, people = _parts(path, loaded)
    return [PredictedFrame(str(frame["file_name"]), _predicted(path, people[frame["id"]], joints)) for frame in frames]


def _load(path: Path) -> dict[str, Any]:
    loaded = read_json(path)
    if isinstance(loaded, dict) and ("annolist" in loaded or loaded.keys() >= _PARTS):
        return loaded
    raise EngineError(f"{path}: it is no file of PoseTrack's: neither 'annolist' (2017) nor {sorted(_PARTS)} (2018)")


# -- 2018 and 2021 ----------------------------------------------------------------------------------------------------

_PARTS = {"images", "annotations", "categories"}

_People = Mapping[Any, Sequence[tuple[int, Mapping[str, Any]]]]


def _parts(path: Path, loaded: Mapping[str, Any]) -> tuple[list[int], list[Mapping[str, Any]], _People]:
    """Where our 15 joints stand in the file's order, the frames, and the numbered annotations of each frame's id."""
    people: dict[Any, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for number, told in enumerate(loaded["annotations"]):
        people[_field(path, number, told, "image_id")].append((number, told))
    return _order(path, loaded["categories"]), loaded["images"], people


def _order(path: Path, categories: Sequence[Mapping[str, Any]]) -> list[int]:
    names = next((told["keypoints"] for told in categories if "keypoints" in told), None)
    if names is None or not set(JOINTS) <= set(names):
        missing = sorted(set(JOINTS) - set(names or ()))
        raise EngineError(f"{path}: its category names no keypoints {', '.join(missing)}; it is not PoseTrack's")
    return [names.index(joint) for joint in JOINTS]


def _annotated(
    path: Path, frame: Mapping[str, Any], people: Iterable[tuple[int, Mapping[str, Any]]], joints: list[int]
) -> Annotated:
    told = [(number, one) for number, one in people if any(one.get("keypoints", ()))]
    points = [_points(path, number, one, joints) for number, one in told]
    heads = [_head(path, number, one) for number, one in told]
    return Annotated(_stack(points, (15, 2)), _stack(heads, (4,)), _regions(frame))


def _points(path: Path, number: int, told: Mapping[str, Any], joints: list[int]) -> Floats:
    """(15, 2), NaN where the third number is 0."""
    numbers = np.array(_field(path, number, told, "keypoints"), np.float64)
    if numbers.size % 3 or numbers.size // 3 <= max(joints):
        raise EngineError(f"{path}: annotation {number} has {numbers.size} numbers in 'keypoints', 51 are wanted")
    triples = numbers.reshape(-1, 3)[joints]
    return np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)


def _head(path: Path, number: int, told: Mapping[str, Any]) -> Floats:
    x, y, width, height = _field(path, number, told, "bbox_head")
    return np.array([x, y, x + width, y + height], np.float64)


def _regions(frame: Mapping[str, Any]) -> tuple[Floats, ...]:
    xs, ys = frame.get("ignore_regions_x") or [], frame.get("ignore_regions_y") or []
    # A single polygon is written without the outer list.
    if xs and not isinstance(xs[0], list):
        xs, ys = [xs], [ys]
    return tuple(np.array([x, y], np.float64).T for x, y in zip(xs, ys, strict=True) if len(x) > 2)


def _predicted(path: Path, people: Iterable[tuple[int, Mapping[str, Any]]], joints: list[int]) -> Predicted:
    told = list(people)
    points = [_points(path, number, one, joints) for number, one in told]
    scores = [np.array(_field(path, number, one, "scores"), np.float64)[joints] for number, one in told]
    return Predicted(_stack(points, (15, 2)), _stack(scores, (15,)))


# -- 2017 -------------------------------------------------------------------------------------------------------------


def _labelled_2017(path: Path, number: int, told: Mapping[str, Any]) -> LabelledFrame:
    people = [(one, _joints_2017(path, number, one)) for one in told.get("annorect") or ()]
    seen = [(one, joints) for one, (joints, _) in people if not np.isnan(joints).all()]
    heads = [np.array([_one(one[key]) for key in ("x1", "y1", "x2", "y2")]) for one, _ in seen]
    regions = tuple(_region_2017(region) for region in told.get("ignore_regions") or ())
    return LabelledFrame(
        _name_2017(told), Annotated(_stack([joints for _, joints in seen], (15, 2)), _stack(heads, (4,)), regions)
    )


def _predicted_2017(path: Path, number: int, told: Mapping[str, Any]) -> PredictedFrame:
    people = [_joints_2017(path, number, one) for one in told.get("annorect") or ()]
    joints, scores = [one[0] for one in people], [one[1] for one in people]
    return PredictedFrame(_name_2017(told), Predicted(_stack(joints, (15, 2)), _stack(scores, (15,))))


def _joints_2017(path: Path, number: int, person: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """(15, 2) and (15,) scores, NaN where absent."""
    joints, scores = np.full((15, 2), np.nan), np.full(15, np.nan)
    shapes: Sequence[Mapping[str, Any]] = person.get("annopoints") or ({},)
    for point in shapes[0].get("point", ()):
        place = int(_one(point["id"]))
        if not 0 <= place < len(JOINTS):
            raise EngineError(f"{path}: frame {number} has a joint of id {place}; PoseTrack 2017 counts 0 to 14")
        joints[place] = _one(point["x"]), _one(point["y"])
        scores[place] = _one(point.get("score", [np.nan]))
    return joints, scores


def _region_2017(region: Mapping[str, Any]) -> Floats:
    return np.array([[_one(point["x"]), _one(point["y"])] for point in region["point"]], np.float64)


def _name_2017(told: Mapping[str, Any]) -> str:
    image = told["image"]
    return str((image[0] if isinstance(image, list) else image)["name"])


def _one(value: Any) -> float:
    """2017 files write every number as a list of one."""
    return float(value[0] if isinstance(value, list) else value)


# -- both -------------------------------------------------------------------------------------------------------------


def _field(path: Path, number: int, told: Mapping[str, Any], name: str) -> Any:
    if name not in told:
        raise EngineError(f"{path}: annotation {number} (id {told.get('id', 'none')}) has no {name!r}")
    return told[name]


def _stack(rows: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, *shape))
