"""Photos, videos, arrays and drawn people become results, in one process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posestream.estimation import estimate
from posestream.inputs import Frames, make_source
from posestream.result import Result
from stream.errors import EngineError, PropertyError, SourceError
from stream.testing.videos import numbered_picture, read_number
from tests.engines import pictures

Estimate = Callable[..., Iterator[Result]]


@pytest.fixture
def toy(model: Path, detector: Path) -> Estimate:
    """``estimate`` with toy networks."""
    return partial(estimate, model=model, detector=detector)


def test_a_photo_gives_one_result_without_ids(toy: Estimate, media: Path) -> None:
    (result,) = toy(media / "2.png")
    assert (result.source, result.index, result.time_s) == (str(media / "2.png"), 0, 0.0)
    assert [person.id for person in result.people] == [-1, -1]
    assert np.allclose(result.people[0].box, [0.1 * 320, 0.1 * 240, 0.4 * 320, 0.9 * 240], atol=0.01)
    assert result.poses.model == "spot"


def test_a_joint_lies_where_the_network_sees_it(toy: Estimate) -> None:
    pixels = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(pixels, (80, 120), 12, (0, 0, 255), cv2.FILLED)
    (result,) = toy(pixels)
    x, y, _ = result.people[0]["nose"]
    assert np.hypot(x - 80.5, y - 120.5) < 20  # a cell of its heatmap is 15 px wide here


def test_a_video_gives_its_frames_in_order_with_ids_and_times(toy: Estimate, media: Path) -> None:
    results = list(toy(str(media / "clip.mp4")))
    assert [read_number(result.frame) for result in results] == [0, 1, 2, 3]
    assert [round(result.time_s, 3) for result in results] == [0, 0.04, 0.08, 0.12]
    assert [[person.id for person in result.people] for result in results] == [[1, 2]] * 4


def test_without_tracking_people_have_no_ids(toy: Estimate, media: Path) -> None:
    assert {person.id for result in toy(media / "clip.mp4", track=False) for person in result.people} == {-1}


def test_files_are_distinguished_by_name_and_counted_from_zero(toy: Estimate, media: Path) -> None:
    results = list(toy([f"{media}/*.mp4", media / "2.png"]))
    assert [(Path(result.source).name, result.index) for result in results] == [
        *(("clip.mp4", number) for number in range(4)),
        ("2.png", 0),
    ]


def test_windows_do_not_reach_from_one_file_into_another(media: Path, detector: Path) -> None:
    results = estimate(f"{media}/*.[jm]p[g4]", model="fami-small", detector=detector)
    photo, *video = (result.poses for result in results)
    assert [frame.state for frame in photo.window] == ["padded", "real", "padded"]
    assert [frame.state for frame in video[0].window] == ["padded", "real", "real"]
    assert [frame.state for frame in video[-1].window] == ["real", "real", "padded"]


def test_arrays_are_estimated_while_they_come(toy: Estimate) -> None:
    given: list[int] = []

    def frames() -> Iterator[Any]:
        for number in range(3):
            given.append(number)
            yield numbered_picture(number)

    results = toy(frames(), fps=10)
    assert (next(results).index, given) == (0, [0])
    assert [(result.index, result.time_s) for result in results] == [(1, 0.1), (2, 0.2)]


def test_people_whom_testsrc_has_drawn_are_found_by_what_ships(caplog: pytest.LogCaptureFixture) -> None:
    errors = []
    for result in estimate(make_source("testsrc", num_frames=6, people=2)):
        truth = result.poses.frame.truth
        assert truth is not None
        seen = truth.keypoints[..., 2] == 2
        distance = np.linalg.norm(result.poses.keypoints[..., :2] - truth.keypoints[..., :2], axis=-1)
        errors.append(np.median(distance[seen]))
    assert len(errors) == 6
    assert max(errors) < 10  # px; 6.1 when measured, of people 300 px tall
    assert caplog.messages == []


def test_what_ships_warns_once_where_people_are_not_drawn(
    media: Path, detector: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        list(estimate(media / "clip.mp4", model="fami-small", detector=detector))
    (message,) = caplog.messages
    assert message == (
        "model 'fami-small-128x96' was trained on drawn people only, what it finds of real people is wrong; name "
        "another with model=, or leave model out"
    )


def test_smoothing_moves_joints_less_than_the_network_does(toy: Estimate) -> None:
    still = np.zeros((240, 320, 3), np.uint8)
    moves = [cv2.circle(still.copy(), (80 + 20 * (number % 2), 120), 12, (0, 0, 255), -1) for number in range(4)]
    rough, smooth = ([result.poses.keypoints for result in toy(moves, smooth=chosen)] for chosen in (False, True))
    assert np.array_equal(rough[0], smooth[0])
    assert np.abs(np.diff(smooth, axis=0)[..., :2]).sum() < 0.9 * np.abs(np.diff(rough, axis=0)[..., :2]).sum()


def test_smoothing_without_ids_is_refused(toy: Estimate, media: Path) -> None:
    with pytest.raises(PropertyError) as caught:
        toy(media / "clip.mp4", track=False, smooth=True)
    assert str(caught.value) == "smooth=True follows people by their ids; leave track=True"


def test_detections_below_the_least_score_are_left_out(toy: Estimate, media: Path) -> None:
    (result,) = toy(media / "2.png", min_score=0.85)
    assert [round(person.score, 2) for person in result.people] == [0.9]


def test_a_network_of_whole_pictures_needs_no_detector(media: Path, tmp_path: Path) -> None:
    folder = pictures.write_export(tmp_path / "brightest")
    results = list(estimate(media / "clip.mp4", model=folder))
    assert [result.poses.model for result in results] == ["brightest"] * 4
    with pytest.raises(PropertyError) as caught:
        estimate(media / "clip.mp4", model=folder, detector="yolox-nano")
    assert str(caught.value) == f"model={str(folder)!r} finds people by itself; leave detector='yolox-nano' away"


def test_what_is_wrong_is_raised_before_the_first_frame(media: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no 'nowhere\.mp4'"):
        estimate("nowhere.mp4")
    with pytest.raises(EngineError, match=r"model 'rtmpose-q' is not a path"):
        estimate(media / "2.png", model="rtmpose-q")


def test_the_good_frames_of_a_damaged_video_come_before_the_error(
    toy: Estimate, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(self: Frames) -> Iterator[Any]:
        yield from original(self)
        raise SourceError("'clip.mp4' is damaged after 4 frames")

    filesrc = type(make_source("filesrc", location=str(media / "clip.mp4")))
    original = filesrc.frames
    monkeypatch.setattr(filesrc, "frames", frames)
    indices: list[int] = []
    with pytest.raises(SourceError, match="is damaged after 4 frames"):
        indices.extend(result.index for result in toy(media / "clip.mp4", model="fami-small"))
    assert indices == [0, 1, 2, 3]


def test_a_file_that_cannot_be_read_is_reported_and_the_next_follows(toy: Estimate, media: Path) -> None:
    reports: list[str] = []
    results = list(toy(media, on_error=lambda name, error: reports.append(f"{Path(name).name}: {error}")))
    assert {Path(result.source).name for result in results} == {"2.png", "10.jpg", "clip.mp4"}
    (report,) = reports
    assert report.startswith("broken.png: ")
    assert "is not a picture" in report


def test_leaving_the_loop_closes_the_source(toy: Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    source = make_source("testsrc")
    monkeypatch.setattr(type(source), "__exit__", lambda *_: closed.append(True))
    for _ in toy(source):
        break
    assert closed == [True]


def test_real_people_in_a_photo_are_found(shared: Path) -> None:
    photo = shared / "data/annot/coco_val_mini/images/000000109313.jpg"
    model, detector = shared / "data/real/tinypose_256_192.onnx", shared / "data/models/yolox_nano.onnx"
    (result,) = estimate(photo, model=model, detector=detector)
    (person,) = result.people
    # Shoulders and hips of the man in the photo, read off by eye.
    for joint, place in {"right_shoulder": (88, 158), "left_shoulder": (182, 163), "left_hip": (188, 331)}.items():
        assert np.hypot(*(person[joint][:2] - place)) < 25
