"""Detectors of each family, with outputs made by hand and with published networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from engines.errors import EngineError
from engines.inference.detector import Detector, load_detector
from engines.inference.detector_families import make_grid
from engines.spec.detector_signature import DetectorSignature
from engines.spec.tensors import Array, Description, Tensor
from engines.vision.boxes import compute_iou
from tests.engines import networks

SIZE = (96, 64)
PERSON = np.array([40.0, 12.0, 56.0, 52.0], np.float32)
"""A box of the input, with centre (48, 32) and size (16, 40), which every family can represent, and about where the
trial picture's person is."""


class FixedBackend:
    """A backend that returns the same outputs for any input."""

    def __init__(self, outputs: dict[str, Array], size: tuple[int, int] = SIZE, more: tuple[Tensor, ...] = ()) -> None:
        self.outputs = outputs
        picture = Tensor("images", (1, 3, size[1], size[0]), "float32")
        said = tuple(Tensor(name, array.shape, str(array.dtype)) for name, array in outputs.items())
        self.description = Description((picture, *more), said, "cpu")
        self.fed: list[dict[str, Array]] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> Description:
        return self.description

    def run(self, feeds: Any) -> dict[str, Array]:
        self.fed.append(dict(feeds))
        return self.outputs


def find_cell(x: float, y: float, stride: int) -> tuple[int, NDArray[np.float32]]:
    """The index of the cell of ``stride`` that contains (x, y), and its row of the grid."""
    grid = make_grid(SIZE)
    at = [i for i, (gx, gy, s) in enumerate(grid) if s == stride and gx == x // stride and gy == y // stride]
    return at[0], grid[at[0]]


def make_yolox_output(classes: int, decoded: bool) -> Array:
    """Outputs with one person, all other scores 0."""
    grid = make_grid(SIZE)
    rows = np.zeros((len(grid), 5 + classes), np.float32)
    if decoded:
        rows[:, :2] = grid[:, :2] * grid[:, 2:]
    place, (x, y, stride) = find_cell(48, 32, 16)
    rows[place, :4] = (48, 32, 16, 40) if decoded else (48 / stride - x, 32 / stride - y, *np.log([16 / 16, 40 / 16]))
    rows[place, 4:6] = 0.9, 0.8
    return rows[None]


def make_nanodet_outputs() -> dict[str, Array]:
    grid = make_grid(SIZE)
    scores, distances = np.zeros((len(grid), 80), np.float32), np.zeros((len(grid), 32), np.float32)
    place, (x, y, stride) = find_cell(48, 32, 16)
    middle = (np.array([x, y]) + 0.5) * stride
    reach = np.concatenate([middle - PERSON[:2], PERSON[2:] - middle]) / stride
    scores[place, 0] = 0.72
    for side, length in enumerate(reach):  # all weight on the two bins around the length, so that their mean is it
        low = int(length)
        distances[place, side * 8 : side * 8 + 8] = -50
        distances[place, side * 8 + low] = np.log(1 - (length - low))
        distances[place, side * 8 + low + 1] = np.log(max(length - low, 1e-9))
    ends = np.cumsum([np.sum(grid[:, 2] == s) for s in (8, 16, 32)])[:-1]
    tables = [*np.split(scores, ends), *np.split(distances, ends)]
    return {f"out{number}": table[None] for number, table in enumerate(tables)}


def run_detector(backend: FixedBackend, frame_size: tuple[int, int] = SIZE, **fields: Any) -> tuple[Array, Array, str]:
    frame = np.zeros((frame_size[1], frame_size[0], 3), np.uint8)
    with Detector("said", backend, DetectorSignature(**fields)) as detector:
        boxes, scores = detector.detect(frame, 0.3, 0.5)
        return boxes, scores, detector.family.name


@pytest.mark.parametrize("classes", [1, 80])
@pytest.mark.parametrize("decoded", [False, True])
def test_yolox_is_recognised_and_decoded(classes: int, decoded: bool) -> None:
    boxes, scores, family = run_detector(FixedBackend({"output": make_yolox_output(classes, decoded)}))
    assert family == ("yolox-decoded" if decoded else "yolox")
    np.testing.assert_allclose(boxes, [PERSON], atol=1e-4)  # single precision
    np.testing.assert_allclose(scores, [0.72], atol=1e-6)


def test_nanodet_is_recognised_and_decoded() -> None:
    boxes, scores, family = run_detector(FixedBackend(make_nanodet_outputs()))
    assert family == "nanodet"
    np.testing.assert_allclose(boxes, [PERSON], atol=1e-3)  # softmax in single precision
    np.testing.assert_allclose(scores, [0.72], atol=1e-6)


@pytest.mark.parametrize("parts", [False, True])
def test_boxes_and_scores_are_used_as_they_are(parts: bool) -> None:
    other = np.array([0.0, 0.0, 20.0, 20.0], np.float32)
    boxes = np.stack([PERSON, other])[None] / (np.array([96, 64, 96, 64], np.float32) if parts else np.float32(1))
    said = {"boxes": boxes.astype(np.float32), "scores": np.array([[0.72, 0.1]], np.float32)}
    found, scores, family = run_detector(FixedBackend(said))
    assert family == "boxes-scores"
    np.testing.assert_allclose(found, [PERSON], atol=1e-4)  # single precision
    np.testing.assert_allclose(scores, [0.72], atol=1e-6)


def test_labels_select_people_and_a_size_input_is_fed() -> None:
    said = {
        "labels": np.array([[2, 0]]),
        "boxes": np.stack([PERSON + 3, PERSON])[None],
        "scores": np.array([[0.9, 0.72]], np.float32),
    }
    backend = FixedBackend(said, more=(Tensor("orig_target_sizes", (1, 2), "int64"),))
    found, scores, _ = run_detector(backend)
    np.testing.assert_allclose(found, [PERSON], atol=1e-4)
    np.testing.assert_allclose(scores, [0.72])
    assert backend.fed[-1]["orig_target_sizes"].tolist() == [[96, 64]]


def test_boxes_are_transformed_back_to_the_frame() -> None:
    output = make_yolox_output(1, decoded=False)
    boxes, _, _ = run_detector(FixedBackend({"output": output}), frame_size=(192, 64))  # fitted by half, at the top
    np.testing.assert_allclose(boxes, [[80, 24, 112, 64]], atol=1e-3)  # cut at the frame's lower edge


def test_unknown_outputs_raise_listing_them_and_the_families(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "odd.onnx", batch=1)
    with pytest.raises(EngineError) as caught:
        load_detector(str(path)).open()
    message = str(caught.value)
    assert (
        "detector odd: its outputs 'heatmaps' (1, 17, 16, 12) float32 for an input of 48x64 are of no family" in message
    )
    assert "yolox, yolox-decoded, yolov5, yolov8, end-to-end, nanodet, dets-labels, boxes-scores" in message


def test_a_network_without_an_image_input_raises(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["numbers"], ["boxes"])
    path = networks.save(tmp_path / "flat.onnx", [node], {"numbers": [1, 4]}, {"boxes": [1, 4]})
    with pytest.raises(EngineError) as caught:
        load_detector(str(path)).open()
    assert str(caught.value) == (
        "detector flat: its inputs are 'numbers' (1, 4) float32, but it must take one image, (N, 3, H, W) or "
        "(N, H, W, 3)"
    )


def test_an_image_of_a_type_that_cannot_be_fed_raises_with_it() -> None:
    backend = FixedBackend({"boxes": np.zeros((1, 1, 4), np.float32)})
    picture = Tensor("images", (1, 3, 64, 96), "tensor(bfloat16)")
    backend.description = Description((picture,), backend.description.outputs, "cpu")
    with pytest.raises(EngineError, match=r"its inputs are 'images' \(1, 3, 64, 96\) tensor\(bfloat16\), but it must"):
        Detector("said", backend, DetectorSignature()).open()


# Boxes that three networks by two teams agree on, read off a picture with the people drawn in.
THREE_PEOPLE = np.array([[0, 4, 650, 845], [698, 20, 1049, 858], [90, 324, 663, 857]], np.float32)


@pytest.mark.parametrize("model", ["yolox_nano", "kazu_person_rpi", "nanodet_m_416", "nanodet_m_320"])
def test_published_networks_find_three_people(shared: Path, model: str) -> None:
    picture = cv2.imread(str(shared / "data/annot/tfjs/three_people.jpg"))
    assert picture is not None
    with load_detector(str(shared / f"data/models/{model}.onnx")) as detector:
        # They stand behind one another: two of their boxes overlap by half.
        boxes, scores = detector.detect(picture.astype(np.uint8), 0.4, 0.65)
    assert len(boxes) == 3
    assert (scores > 0.6).all()
    # Detectors differ by a few per cent of a box; an overlap of 0.8 means the same person.
    assert all(compute_iou(person[None], boxes).max() > 0.8 for person in THREE_PEOPLE)


def test_a_network_of_another_family_raises(shared: Path) -> None:
    with pytest.raises(EngineError) as caught:
        load_detector(str(shared / "data/models/FastestDet.onnx")).open()
    wanted = "its outputs '758' (1, 85, 22, 22) float32 for an input of 352x352 are of no family"
    assert wanted in str(caught.value)


def test_an_unknown_family_raises(shared: Path) -> None:
    with pytest.raises(EngineError) as caught:
        load_detector(str(shared / "data/models/yolox_nano.onnx"), family="yollox")
    assert str(caught.value) == (
        "family 'yollox' is not one of auto, yolox, yolox-decoded, yolov5, yolov8, end-to-end, nanodet, dets-labels, "
        "boxes-scores"
    )
