"""Single-stage networks as others export them: recognised by a trial picture, keypoints in pixels of the frame."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto

from engines import skeletons
from engines.errors import EngineError
from engines.inference.single_stage import DetectedPeople, PictureEngine, load_picture_engine, load_picture_signature
from engines.vision.trial_picture import draw_person
from tests.engines.detector_files import (
    CELLS,
    CENTRE,
    GREY_LEVELS,
    JOINTS,
    PERSON,
    SCORE,
    SIZE,
    UNIT_VALUES,
    Output,
    cells,
    in_fractions,
    rtmo,
    save_detector,
    split_scores,
)


def yolo_pose(*, turned: bool = True, joints: int = 17, dtype: Any = np.float32) -> dict[str, Output]:
    """(1, 5 + 3 K, cells), or (1, cells, 5 + 3 K); two cells find the person."""
    table = cells(CELLS, 5 + 3 * joints)
    table[0, 7:9, :4], table[0, 7:9, 4] = CENTRE, (SCORE, SCORE - 0.1)
    table[0, 7:9, 5:] = np.resize(JOINTS, (joints, 3)).ravel()
    return {"output0": split_scores(table, slice(4, 5), turned=turned, dtype=dtype)}


def end_to_end() -> dict[str, Output]:
    """(1, 300, 57); the second row is of another class."""
    table = np.zeros((1, 300, 57), np.float32)
    table[0, :2] = [[*PERSON, SCORE, 0, *JOINTS.ravel()], [0, 0, 90, 90, SCORE, 1, *JOINTS.ravel()]]
    return {"output0": split_scores(table, slice(4, 5))}


def multipose() -> dict[str, Output]:
    """(1, 6, 56), in fractions, y first: 17 joints, corners and score; the middle of the first pixel is half of one."""
    table = np.zeros((1, 6, 56), np.float32)
    places = (JOINTS[:, 1::-1] + 0.5) / SIZE[::-1]
    corners = PERSON[[1, 0, 3, 2]] / np.tile(SIZE[::-1], 2)
    table[0, 2] = [*np.concatenate([places, JOINTS[:, 2:]], axis=1).ravel(), *corners, SCORE]
    return {"output_0": split_scores(table, slice(55, 56))}


def find_people(path: Path, size: tuple[int, int] = SIZE) -> tuple[DetectedPeople, PictureEngine]:
    with load_picture_engine(str(path)) as engine:
        (found,) = engine.estimate([draw_person(size)[0]])
    return found, engine


FORMATS: dict[str, tuple[dict[str, Output], tuple[float, float], str]] = {
    "yolo-pose, columns first": (yolo_pose(), UNIT_VALUES, "centre"),
    "yolo-pose, rows first": (yolo_pose(turned=False), UNIT_VALUES, "centre"),
    "yolo-pose, half precision": (yolo_pose(dtype=np.float16), UNIT_VALUES, "centre"),
    "yolo-pose, end to end": (end_to_end(), UNIT_VALUES, "centre"),
    "yolo-pose in fractions": (in_fractions(yolo_pose(), 5, turned=True), UNIT_VALUES, "centre"),
    "yolo-pose, end to end, in fractions": (in_fractions(end_to_end(), 6), UNIT_VALUES, "centre"),
    "MoveNet MultiPose": (multipose(), GREY_LEVELS, "centre"),
    "rtmo": (rtmo(), GREY_LEVELS, "top-left"),
    "rtmo, half precision": (rtmo(np.float16), GREY_LEVELS, "top-left"),
    "rtmo of unit values": (rtmo(), UNIT_VALUES, "top-left"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_person_in_pixels(tmp_path: Path, name: str) -> None:
    outputs, mean, fit = FORMATS[name]
    found, engine = find_people(save_detector(tmp_path / "net.onnx", outputs, mean=mean))
    assert (engine.signature.skeleton, engine.signature.fit) == ("coco17", fit)
    rounding = 0.05 if "half" in name else 1e-3
    np.testing.assert_allclose(found.boxes, [PERSON], atol=rounding)
    np.testing.assert_allclose(found.scores, [SCORE], atol=1e-3)
    np.testing.assert_allclose(found.keypoints, [JOINTS + np.array([0.5, 0.5, 0])], atol=rounding)


def test_a_network_is_tried_once_and_warned_of_where_it_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save_detector(tmp_path / "net.onnx", yolo_pose(), mean=(9000, 9001))
    path.with_suffix(".json").write_text('{"family": "yolo-pose"}')
    with caplog.at_level(logging.WARNING):
        load_picture_signature(str(path))
        assert not caplog.records
        load_picture_engine(str(path))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"model {path}: read as family=yolo-pose, but it finds no person in the drawn trial picture")


INPUTS: dict[str, tuple[tuple[int | str, ...], int]] = {
    "half precision": ((1, 3, SIZE[1], SIZE[0]), TensorProto.FLOAT16),
    "channels last": ((1, SIZE[1], SIZE[0], 3), TensorProto.FLOAT),
    "any batch": (("batch", 3, SIZE[1], SIZE[0]), TensorProto.FLOAT),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_of_every_kind_are_fed(tmp_path: Path, name: str) -> None:
    shape, dtype = INPUTS[name]
    found, _ = find_people(save_detector(tmp_path / "net.onnx", yolo_pose(), shape=shape, dtype=dtype))
    np.testing.assert_allclose(found.boxes, [PERSON], atol=1e-3)


def test_people_are_placed_in_a_larger_frame(tmp_path: Path) -> None:
    # Twice the input's size, and 32 px of padding on the left and the right of the input.
    found, _ = find_people(save_detector(tmp_path / "net.onnx", yolo_pose()), (SIZE[0], 2 * SIZE[1]))
    wanted = (PERSON - [32, 0, 32, 0]) * 2
    np.testing.assert_allclose(found.boxes, [np.clip(wanted, 0, [128, 192, 128, 192])], atol=1e-3)
    np.testing.assert_allclose(found.keypoints[0, :, :2], (JOINTS[:, :2] - [32, 0]) * 2 + 0.5, atol=1e-3)


def check_refusal_works(path: Path) -> list[str]:
    """The skeletons of the keys in the refusal, each of which opens the file."""
    with pytest.raises(EngineError) as caught:
        load_picture_engine(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"model {path}: its outputs '")
    found = [msgspec.json.decode(text) for text in re.findall(r"\{.*?\}(?= or |$)", message)]
    for choice in found:
        path.with_suffix(".json").write_bytes(msgspec.json.encode(choice))
        with load_picture_engine(str(path)) as engine:
            assert engine.signature.skeleton == choice.get("skeleton", "coco17")
    return [choice.get("skeleton", "coco17") for choice in found]


def test_an_unusual_number_of_joints_is_refused_with_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(skeletons._KNOWN, "hand5", None)  # forgotten afterwards
    del skeletons._KNOWN["hand5"]
    known = check_refusal_works(save_detector(tmp_path / "body.onnx", yolo_pose(joints=15)))
    assert known == ["posetrack15", "jhmdb15"]
    assert check_refusal_works(save_detector(tmp_path / "hand.onnx", yolo_pose(joints=5))) == ["hand5"]


def test_other_outputs_are_refused_with_what_runs(tmp_path: Path) -> None:
    path = save_detector(tmp_path / "net.onnx", {"output0": Output(np.zeros((1, 6, CELLS), np.float32))})
    with pytest.raises(EngineError) as caught:
        load_picture_engine(str(path))
    assert str(caught.value).startswith(
        f"model {path}: its outputs 'output0' (1, 6, {CELLS}) float32 for an input of 128x96 are of no family of whole "
        "pictures (yolo-pose, yolo-pose-end-to-end, movenet-multipose, rtmo); "
    )
    with pytest.raises(EngineError, match="there is no such file"):
        load_picture_engine(str(tmp_path / "none.onnx"))


def test_boxes_and_joints_that_are_impossible_are_dropped(tmp_path: Path) -> None:
    outputs = rtmo()
    dets, points = outputs["dets"].table, outputs["keypoints"].table
    dets[0, :6] = [
        [*PERSON, 0],
        [9, 9, 9, 40, 0.9],
        [20, 20, 8, 40, 0.9],
        [-9, -9, -1, -1, 0.9],
        [9, 9, 90, 90, 3],
        [np.nan] * 5,
    ]
    points[0, 0, 3] = np.nan
    found, _ = find_people(save_detector(tmp_path / "net.onnx", outputs, mean=GREY_LEVELS))
    assert found.scores == pytest.approx([SCORE])
    assert np.isfinite(found.keypoints).all()
    assert found.keypoints[0, 3, 2] == 0


@pytest.mark.parametrize("name", ["yolov8n-pose", "rtmo"])
def test_files_that_were_refused_run(shared: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with caplog.at_level(logging.WARNING), load_picture_engine(str(shared / f"cases/detectors/{name}.onnx")) as engine:
        (found,) = engine.estimate([np.zeros((48, 64, 3), np.uint8)])
    assert found.keypoints.shape == (0, 17, 3)  # their outputs are 0
    assert "finds no person in the drawn trial picture" in caplog.text
