"""Recognition of detectors by their outputs for a trial picture, format by format."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from engines.errors import EngineError
from engines.inference.detector import Detector, load_detector
from engines.vision.boxes import compute_iou
from engines.vision.trial_picture import SMALLER, UNITS, draw_person
from tests.engines import detector_files as files
from tests.engines import networks
from tests.engines.detector_files import GREY_LEVELS, PERSON, SCORE, SIZE, UNIT_VALUES, Output


def detect_people(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Detector]:
    """What the file finds in the trial picture."""
    with load_detector(str(path)) as detector:
        boxes, scores = detector.detect(draw_person(SIZE)[0], 0.3, 0.65)
        resolved = detector.resolved
    detector.signature = resolved
    return boxes, scores, detector


def check_person(path: Path, family: str, atol: float = 1e-3) -> Detector:
    """The file is of ``family`` and finds one person where they are, with the score that the file states."""
    boxes, scores, detector = detect_people(path)
    assert detector.signature.family == family
    np.testing.assert_allclose(boxes, [PERSON], atol=atol)
    np.testing.assert_allclose(scores, [SCORE], atol=1e-3)  # half precision
    return detector


FORMATS: dict[str, tuple[str, dict[str, Output]]] = {
    "YOLOv5, three boxes a cell": ("yolov5", files.yolov5()),
    "YOLOv5 of one class": ("yolov5", files.yolov5(classes=1)),
    "YOLOv5 of 7 classes": ("yolov5", files.yolov5(classes=7)),
    "YOLOv8, columns first": ("yolov8", files.yolov8()),
    "YOLOv8, rows first": ("yolov8", files.yolov8(turned=False)),
    "YOLOv8 of one class": ("yolov8", files.yolov8(classes=1)),
    "YOLOv8 of 7 classes": ("yolov8", files.yolov8(classes=7)),
    "YOLOv8 of two classes": ("yolov8", files.yolov8(classes=2)),
    "end to end": ("end-to-end", files.end_to_end()),
    "RT-DETR of transformers": ("boxes-scores", files.detr(("pred_boxes", "logits"), 80, 0)),
    "RT-DETR, logits first": ("boxes-scores", dict(reversed(files.detr(("pred_boxes", "logits"), 80, 0).items()))),
    "boxes, scores, labels": ("boxes-scores", files.boxes_scores()),
    "boxes in int64": ("boxes-scores", files.boxes_scores(np.int64)),
    "labels in int32": ("boxes-scores", files.boxes_scores(labels=np.int32)),
    "YOLOv5 in fractions": ("yolov5", files.in_fractions(files.yolov5())),
    "YOLOv5 with one box a cell, in fractions": ("yolov5", files.in_fractions(files.yolov5(boxes=1))),
    "YOLOv8 in fractions": ("yolov8", files.in_fractions(files.yolov8(), turned=True)),
    "end to end in fractions": ("end-to-end", files.in_fractions(files.end_to_end())),
    "YOLOv8 in half precision": ("yolov8", files.yolov8(dtype=np.float16)),
    "YOLOv5 in half precision": ("yolov5", files.yolov5(dtype=np.float16)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_and_gives_the_person_in_pixels(tmp_path: Path, name: str) -> None:
    family, outputs = FORMATS[name]
    rounding = 1.0 if "int64" in name else 0.05 if "half" in name else 1e-3
    check_person(files.save_detector(tmp_path / "net.onnx", outputs), family, rounding)


INPUTS: dict[str, tuple[tuple[int | str, ...], int]] = {
    "half precision": ((1, 3, SIZE[1], SIZE[0]), TensorProto.FLOAT16),
    "channels last": ((1, SIZE[1], SIZE[0], 3), TensorProto.FLOAT),
    "batch of four": ((4, 3, SIZE[1], SIZE[0]), TensorProto.FLOAT),
    "any batch": (("batch", 3, SIZE[1], SIZE[0]), TensorProto.FLOAT),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_of_every_kind_are_fed(tmp_path: Path, name: str) -> None:
    shape, dtype = INPUTS[name]
    check_person(files.save_detector(tmp_path / "net.onnx", files.yolov8(), shape=shape, dtype=dtype), "yolov8")


def test_integer_inputs_take_grey_levels(tmp_path: Path) -> None:
    shape = (1, SIZE[1], SIZE[0], 3)
    path = files.save_detector(
        tmp_path / "net.onnx", files.yolov8(), mean=GREY_LEVELS, shape=shape, dtype=TensorProto.UINT8
    )
    assert check_person(path, "yolov8").signature.std == (1, 1, 1)


def test_an_input_of_any_size_takes_the_size_that_its_file_was_made_for(tmp_path: Path) -> None:
    shape, imgsz = (1, 3, "height", "width"), {"imgsz": str([SIZE[1], SIZE[0]])}
    path = files.save_detector(tmp_path / "net.onnx", files.yolov8(), shape=shape, metadata=imgsz)
    check_person(path, "yolov8")


@pytest.mark.parametrize("mean", [GREY_LEVELS, UNIT_VALUES])
def test_the_trial_picture_tells_the_scaling(tmp_path: Path, mean: tuple[float, float]) -> None:
    path = files.save_detector(tmp_path / "net.onnx", files.yolov8(), mean=mean)
    assert check_person(path, "yolov8").signature.std == ((1,) * 3 if mean is GREY_LEVELS else (255,) * 3)


@pytest.mark.parametrize(("family", "mean"), [("yolov5", UNIT_VALUES), ("yolox-decoded", GREY_LEVELS)])
def test_yolov5_with_one_box_a_cell_and_yolox_differ_by_scaling(
    tmp_path: Path, family: str, mean: tuple[float, float]
) -> None:
    check_person(files.save_detector(tmp_path / "net.onnx", files.yolov5(boxes=1), mean=mean), family)


def test_mmdeploy_is_recognised_by_its_scaling_or_refused_with_the_keys(tmp_path: Path) -> None:
    path = files.save_detector(tmp_path / "net.onnx", files.dets_labels(), mean=GREY_LEVELS)
    check_person(path, "dets-labels")
    deaf = files.save_detector(tmp_path / "deaf.onnx", files.dets_labels(), mean=(9000, 9001))
    choices = check_refusal_works(deaf)
    assert {"family": "dets-labels", "person": 0, "colour": "bgr", "mean": [0, 0, 0], "std": [1, 1, 1]} in choices
    deaf.with_suffix(".json").write_text('{"family": "dets-labels"}')  # RTMDet's and YOLOX's are fed differently
    with pytest.raises(EngineError, match="finds no person in a trial picture"):
        load_detector(str(deaf)).open()


def test_detr_has_its_person_at_1_and_its_pictures_normalised(tmp_path: Path) -> None:
    mean = (0.01, 0.9)
    for classes in (91, 92):
        outputs = files.detr(("dets", "labels") if classes == 91 else ("pred_boxes", "logits"), classes, person=1)
        boxes, scores, detector = detect_people(files.save_detector(tmp_path / "net.onnx", outputs, mean=mean))
        np.testing.assert_allclose(boxes, [PERSON], atol=1e-3)
        assert scores[0] >= SCORE - 1e-3
        assert (detector.signature.person, detector.signature.scores) == (1, "logits" if classes == 91 else "softmax")
        assert detector.signature.mean == (123.675, 116.28, 103.53)


def test_the_names_of_classes_tell_what_a_column_is(tmp_path: Path) -> None:
    names = {"names": "{0: 'dog', 1: 'cat', 2: 'person', 3: 'hat', 4: 'bag'}"}
    outputs = files.yolov8(classes=5, turned=False, person=2)
    check_person(files.save_detector(tmp_path / "net.onnx", outputs, metadata=names), "yolov8")


def check_refusal_works(path: Path) -> list[dict[str, Any]]:
    """The refusal is one line with file, shapes and keys; each of the keys, written beside the file, opens it."""
    with pytest.raises(EngineError) as caught:
        load_detector(str(path)).open()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"detector {path.stem}: its outputs '")
    assert f"write into {path.stem}.json" in message
    found = [msgspec.json.decode(text) for text in re.findall(r"\{.*?\}", message)]
    assert len(found) > 1
    for choice in found:
        path.with_suffix(".json").write_bytes(msgspec.json.encode(choice))
        with load_detector(str(path)) as detector:
            assert detector.resolved.family == choice["family"]
    return found


def test_what_stays_ambiguous_is_refused_with_keys_that_work(tmp_path: Path) -> None:
    path = files.save_detector(tmp_path / "net.onnx", files.yolov5(classes=7, boxes=1))
    assert {choice["family"] for choice in check_refusal_works(path)} == {"yolov5", "yolov8"}


@pytest.mark.parametrize("family", ["auto", "yolov8"])
def test_a_network_that_finds_no_person_says_what_is_assumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, family: Literal["auto", "yolov8"]
) -> None:
    path = files.save_detector(tmp_path / "net.onnx", files.yolov8(), mean=(9000, 9001))
    with caplog.at_level(logging.WARNING), load_detector(str(path), family) as detector:
        assert detector.resolved.std == (255, 255, 255)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("detector net: read as family=yolov8, but it finds no person in the drawn trial picture")
    (keys,) = re.findall(r"\{.*\}", line)
    caplog.clear()
    path.with_suffix(".json").write_text(keys)
    with load_detector(str(path)):
        assert not caplog.records


def test_a_person_who_is_found_in_the_second_picture_alone_is_evidence(tmp_path: Path) -> None:
    smaller = draw_person(SIZE, SMALLER)[1]
    table = np.array([[[*smaller, SCORE, 0], [0, 0, 90, 90, SCORE, 7]]], np.float32)
    path = files.save_detector(tmp_path / "net.onnx", {"output0": files.split_scores(table, slice(4, 5))})
    boxes, _, detector = detect_people(path)
    assert detector.signature.family == "end-to-end"
    np.testing.assert_allclose(boxes, [smaller], atol=1e-3)


def test_an_input_of_any_size_that_fails_is_refused_with_a_size_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    # 320 times 320 pixels and no others can be added to this constant.
    constants: dict[str, Any] = {"plane": np.zeros((1, 3, 320, 320), np.float32)}
    nodes = [helper.make_node("Add", ["images", "plane"], ["maps"])]
    shape: networks.Shape = [1, 3, "h", "w"]
    networks.save(path, nodes, {"images": shape}, {"maps": shape}, constants)
    with pytest.raises(EngineError) as caught:
        load_detector(str(path)).open()
    assert str(caught.value) == (
        "detector net: its input (1, 3, any, any) float32 takes any size, but it fails for 640x640; write into "
        'net.json beside it {"input_size":[320,320]}, or what it was made for'
    )


def test_an_input_of_any_size_that_is_another_is_refused_with_the_key(tmp_path: Path) -> None:
    shape = (1, 3, "height", "width")
    path = files.save_detector(tmp_path / "net.onnx", files.yolov8(), shape=shape)
    with pytest.raises(EngineError, match=r"640x640 are of no family .*, write input_size into net\.json"):
        load_detector(str(path)).open()
    path.with_suffix(".json").write_text(f'{{"input_size": [{SIZE[0]}, {SIZE[1]}]}}')
    check_person(path, "yolov8")


@pytest.mark.parametrize("family", ["yolov8", "end-to-end", "boxes-scores", "dets-labels"])
def test_boxes_without_a_person_never_become_people(tmp_path: Path, family: str) -> None:
    nan, inf = float("nan"), float("inf")
    wrong = np.array(
        [
            [10, 10, 10, 40, 0.9],
            [20, 20, 18, 40, 0.9],
            [-50, -50, -10, -10, 0.9],
            [170, 70, 190, 90, 0.9],
            [5, 5, 5.0001, 5.0001, 0.9],
            [10, 10, 40, 40, 3.0],
            [10, 10, 40, 40, -0.5],
            [10, 10, 40, 40, nan],
            [nan, 10, 40, 40, 0.9],
            [10, 10, inf, 40, 0.9],
        ],
        np.float32,
    )
    boxes, scores = wrong[:, :4], wrong[:, 4:]
    zeros = np.zeros((len(wrong), 1), np.float32)
    sizes = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], scores], axis=1)
    dense = files.cells(files.CELLS, 5)
    dense[0, : len(wrong)] = sizes
    outputs = {
        "yolov8": {"output0": Output(dense.transpose(0, 2, 1))},
        "end-to-end": {"output0": Output(np.concatenate([wrong, zeros], axis=1)[None])},
        "dets-labels": {"dets": Output(wrong[None]), "labels": Output(zeros.T.astype(np.int64))},
        "boxes-scores": {"boxes": Output(boxes[None]), "scores": Output(scores.T)},
    }
    path = files.save_detector(tmp_path / "net.onnx", outputs[family])
    keys = {"family": family, "boxes": "corners", "units": "pixels", "scores": "probabilities", "colour": "rgb"}
    path.with_suffix(".json").write_bytes(msgspec.json.encode({**keys, "mean": [0, 0, 0], "std": [255, 255, 255]}))
    with load_detector(str(path)) as detector:
        boxes, scores = detector.detect(draw_person(SIZE)[0], 0.0, 1.0)
    assert len(boxes[scores > 0]) == 0


PUBLISHED = {"degenerate": "boxes-scores", "rfdetr": "boxes-scores"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_that_went_wrong(shared: Path, name: str) -> None:
    with load_detector(str(shared / f"cases/detectors/{name}.onnx")) as detector:
        boxes, scores = detector.detect(np.zeros((560, 560, 3), np.uint8), 0.3)
        assert detector.resolved.family == PUBLISHED[name]
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 1).all()
    if name == "rfdetr":  # centre (0.2, 0.4), size (0.3, 0.7), logit 3
        np.testing.assert_allclose(boxes, [[0.05 * 560, 0.05 * 560, 0.35 * 560, 0.75 * 560]], atol=1e-3)
        np.testing.assert_allclose(scores, [1 / (1 + np.exp(-3))], atol=1e-6)
    else:
        assert len(boxes) == 2


@pytest.mark.parametrize("name", ["yolox_nano", "kazu_person_rpi", "nanodet_m_416", "nanodet_m_320"])
def test_networks_of_photographs_find_the_drawn_person(shared: Path, name: str) -> None:
    with load_detector(str(shared / f"data/models/{name}.onnx")) as detector:
        for units in (UNITS, SMALLER):
            picture, person = draw_person(detector.input_size, units)
            boxes, scores = detector.detect(picture, 0.3)
            assert len(boxes) == 1
            assert scores[0] > 0.7  # three times what is evidence
            assert compute_iou(person[None], boxes).max() > 0.85
