"""``detect``: which people it keeps, and on which frames it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.inference.detector import Detector
from engines.spec import cache
from engines.vision.trial_picture import draw_person
from stream.elements.detect import Detect
from stream.errors import EngineError, PropertyError
from stream.messages import Frame, Truth
from stream.registry import make
from stream.testing import Harness, check_element
from stream.testing.items import make_frame

BOXES = np.array([[4, 2, 20, 46], [30, 10, 44, 30], [50, 5, 60, 45]], np.float32)


def with_truth(seq: int, camera: str = "hall", boxes: Any = BOXES, shift: float = 0.0) -> Frame:
    """A frame with ground truth."""
    moved = np.asarray(boxes, np.float32).reshape(-1, 4) + np.float32(shift)
    truth = Truth(moved, np.arange(len(moved)), np.zeros((len(moved), 17, 3), np.float32))
    return replace(make_frame(seq, camera), truth=truth)


@pytest.fixture
def model(shared: Path) -> str:
    return str(shared / "data/models/kazu_person_rpi.onnx")


@pytest.mark.parametrize("interval", [1, 3])
def test_it_keeps_the_contract_of_an_element(model: str, interval: int) -> None:
    check_element(f"detect model={model} interval={interval}")


@pytest.mark.parametrize("name", ["truth", "auto"])
def test_ground_truth_is_used_where_the_frame_has_it(name: str) -> None:
    with Harness(f"detect model={name}") as harness:
        (people,) = harness.push(with_truth(0))
    assert people.boxes.tolist() == BOXES.tolist()
    assert people.scores.tolist() == [1, 1, 1]
    assert people.ids.tolist() == [-1, -1, -1]
    assert people.detected
    assert people.frame.ledger["detected"] == harness.clock()


def test_missing_ground_truth_raises_in_one_line() -> None:
    with Harness("detect model=truth") as harness, pytest.raises(EngineError) as caught:
        harness.push(make_frame(3, "hall"))
    assert str(caught.value) == (
        "detect: model=truth, but frame 3 of camera 'hall' has no ground truth; "
        "only testsrc provides it: set model= to a detector"
    )


def test_a_detector_that_is_not_installed_raises_with_the_command_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(EngineError) as caught:
        Harness("detect model=yolox-nano").push(make_frame(0))
    assert str(caught.value).startswith("detect: model 'yolox-nano' is not on this machine")
    assert "posestream pull people" in str(caught.value)
    # Without model=, frames without ground truth go to yolox-nano.
    with Harness("detect") as harness, pytest.raises(EngineError) as caught:
        harness.push(make_frame(0))
    assert "yolox-nano" in str(caught.value)


def test_one_frame_per_interval_is_detected_and_the_others_carry_its_boxes() -> None:
    with Harness("detect model=truth interval=3") as harness:
        found = [people for seq in range(7) for people in harness.push(with_truth(seq, shift=seq))]
    assert [people.detected for people in found] == [True, False, False, True, False, False, True]
    assert [float(people.boxes[0, 0]) for people in found] == [4, 4, 4, 7, 7, 7, 10]
    assert [people.frame.seq for people in found] == list(range(7))


def test_dropped_frames_do_not_delay_the_next_detection() -> None:
    with Harness("detect model=truth interval=3") as harness:
        found = [people for seq in (0, 1, 4, 5, 6, 30) for people in harness.push(with_truth(seq))]
    assert [people.detected for people in found] == [True, False, True, False, True, True]


def test_every_camera_has_its_own_interval() -> None:
    with Harness("detect model=truth interval=2") as harness:
        order = [("hall", 1), ("yard", 0), ("hall", 2), ("yard", 1)]
        found = [people for camera, seq in order for people in harness.push(with_truth(seq, camera))]
    assert [people.detected for people in found] == [True, True, True, False]


def test_small_people_and_those_beyond_max_people_are_dropped() -> None:
    with Harness("detect model=truth min_height_px=25") as harness:
        (people,) = harness.push(with_truth(0))
    assert people.boxes.tolist() == BOXES[[0, 2]].tolist()
    with Harness("detect model=truth max_people=2") as harness:
        (people,) = harness.push(with_truth(0))
    assert people.boxes.tolist() == BOXES[:2].tolist()


def test_a_frame_without_people_is_passed_on() -> None:
    with Harness("detect model=truth") as harness:
        (people,) = harness.push(with_truth(0, boxes=[]))
    assert people.boxes.shape == (0, 4)
    assert people.detected


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"min_score": "3"}, "min_score"),
        ({"interval": "0"}, "interval"),
        ({"family": "yollo"}, "family"),
        ({"modell": "x"}, "did you mean 'model'?"),
    ],
)
def test_wrong_properties_are_refused(properties: dict[str, str], words: str) -> None:
    with pytest.raises(PropertyError) as caught:
        make("detect", **properties)
    assert words in str(caught.value)


def test_thresholds_reach_the_network(model: str, shared: Path) -> None:
    picture = cv2.imread(str(shared / "data/annot/tfjs/three_people.jpg"))
    assert picture is not None
    frame = replace(make_frame(0), pixels=picture.astype(np.uint8))

    def count(**properties: str) -> int:
        with Harness(make("detect", model=model, **properties)) as harness:
            return len(harness.push(frame)[0].boxes)

    assert count() == 3  # one person sits in front of another, whose box overlaps his by half
    assert count(iou="0.1", min_score="0.6") == 2
    assert count(iou="0.65", min_score="0.85") == 2
    assert count(iou="0.65", max_people="1") == 1


def test_the_network_is_closed_at_the_end(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Detector, "close", lambda self: closed.append(self.name))
    with Harness(f"detect model={model}") as harness:
        harness.push(make_frame(0))
    assert closed == ["kazu_person_rpi"]


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_frames_taken_at_once_give_what_each_gives_alone(model: str, interval: int) -> None:
    frames = [
        replace(make_frame(seq, camera), pixels=draw_person((96 + 8 * seq, 128))[0])
        for seq in range(5)
        for camera in ("hall", "yard")
    ]
    text = f"detect model={model} min_score=0.1 interval={interval} threads=2"
    with Harness(text) as one, Harness(text) as other:
        alone = [people for frame in frames for people in one.push(frame)]
        other.open()
        together = [people for at in range(0, 10, 4) for people in other.element.process_many(frames[at : at + 4])]
    assert sum(len(people.boxes) for people in alone) > 0
    for wanted, found in zip(alone, together, strict=True):
        assert (found.key, found.detected) == (wanted.key, wanted.detected)
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
        np.testing.assert_array_equal(found.scores, wanted.scores)


def test_a_batch_that_fails_leaves_the_intervals_as_they_were() -> None:
    element = Detect(model="truth", interval=2)
    with element, pytest.raises(EngineError):
        list(element.process_many([with_truth(0), make_frame(2, "hall")]))
    with element:
        list(element.process_many([with_truth(0)]))
        with pytest.raises(EngineError):
            list(element.process_many([with_truth(1), make_frame(2, "hall")]))
        found = [people for seq in (1, 3) for people in element.process(with_truth(seq))]
    assert [people.detected for people in found] == [False, True]
