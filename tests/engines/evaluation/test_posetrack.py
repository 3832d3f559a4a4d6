"""PoseTrack's AP, against the official tool's own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets.posetrack import read_annotations, read_predictions
from engines.datasets.posetrack_frames import JOINTS, Annotated, Predicted
from engines.evaluation.posetrack import mean, score, table

PRINTED = 1e-9
"""The official numbers are written with ten decimals."""


def _joints(person: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    joints, scores = np.full((15, 2), np.nan), np.full(15, np.nan)
    for point in person["annopoints"][0]["point"]:
        joints[point["id"][0]] = point["x"][0], point["y"][0]
        scores[point["id"][0]] = point.get("score", [np.nan])[0]
    return joints, scores


def _frames(case: dict[str, Any]) -> list[tuple[Annotated, Predicted]]:
    return [
        (_annotated(labelled), _predicted(result)) for labelled, result in zip(case["gt"], case["pred"], strict=True)
    ]


def _annotated(frame: dict[str, Any]) -> Annotated:
    people = frame["annorect"]
    heads = [[person[key][0] for key in ("x1", "y1", "x2", "y2")] for person in people]
    ignored = tuple(
        np.array([[point["x"][0], point["y"][0]] for point in region["point"]], float)
        for region in frame.get("ignore_regions", ())
    )
    joints = np.array([_joints(person)[0] for person in people]).reshape(-1, 15, 2)
    return Annotated(joints, np.array(heads, float).reshape(-1, 4), ignored)


def _predicted(frame: dict[str, Any]) -> Predicted:
    both = [_joints(person) for person in frame["annorect"]]
    return Predicted(
        np.array([joints for joints, _ in both]).reshape(-1, 15, 2), np.array([s for _, s in both]).reshape(-1, 15)
    )


def test_every_case_of_the_official_tool_is_equal_to_every_digit(shared: Path) -> None:
    cases = json.loads((shared / "models/golden_poseval.json").read_text())["cases"]
    assert len(cases) == 8
    for case in cases:
        scores = score(_frames(case))
        ours = np.array([[one.ap, one.precision, one.recall] for one in [*scores, mean(scores)]]).T
        theirs = [case["ap_per_joint15_plus_mean"], case["precision"], case["recall"]]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=PRINTED)
        columns = case["table_head_shoulder_elbow_wrist_hip_knee_ankle_mean"]
        np.testing.assert_allclose([*table(scores).values()], columns, rtol=0, atol=PRINTED)


@pytest.mark.parametrize(
    "name", ["A_identity", "B_x0.98_y1.02", "C_shift20px", "D_drop_every_3rd_person"]
)  # results derived from the annotations: as they are, stretched, moved, every third person left out
def test_files_of_posetrack_2018_score_as_by_the_official_tool(shared: Path, name: str) -> None:
    annotations = sorted((shared / "data/annot/mmpose/posetrack18/annotations/val").glob("*.json"))
    known = json.loads((shared / "data/annot/known_scores.json").read_text())["posetrack18_poseval_ap"]["cases"][name]
    frames = [
        (labelled.people, result.people)
        for file in annotations
        for labelled, result in zip(
            read_annotations(file),
            read_predictions(shared / "data/annot/posetrack18_poseval" / name / file.name),
            strict=True,
        )
    ]
    scores = score(frames)
    ours = dict(zip(JOINTS, (one.ap for one in scores), strict=True))
    ours |= {"neck": ours["head_bottom"], "total": mean(scores).ap}
    theirs = {known["names"][str(place)]: value for place, value in enumerate(known["ap"])}
    assert len(theirs) == 16
    for joint, value in theirs.items():
        assert ours[joint] == pytest.approx(value, abs=PRINTED), joint


def _person(x: float) -> np.ndarray:
    return np.stack([np.full(15, x), np.arange(15) * 10.0], axis=1)


def test_a_person_matches_one_prediction_only() -> None:
    truth = Annotated(_person(50)[None], np.array([[0.0, 0, 30, 40]]))
    # Two say the same: one is right, the other is false however near it is.
    both = Predicted(np.stack([_person(50), _person(51)]), np.stack([np.full(15, 0.4), np.full(15, 0.9)]))
    found = score([(truth, both)])
    assert all(one.recall == 100 for one in found)
    assert all(one.ap == 50 for one in found)


def test_the_threshold_is_half_a_head() -> None:
    # The head's diagonal is 50 px, its size 30 px: 15 px are within half of it, 15.01 px are not.
    truth = Annotated(_person(50)[None], np.array([[0.0, 0, 30, 40]]))
    near, far = (Predicted(_person(50 + away)[None], np.ones((1, 15))) for away in (15, 15.01))
    assert mean(score([(truth, near)])).ap == 100
    assert mean(score([(truth, far)])).ap == 0


def test_people_in_an_ignored_region_do_not_count() -> None:
    truth = Annotated(np.stack([_person(50), _person(250)]), np.array([[0.0, 0, 30, 40], [200, 0, 230, 40]]))
    region = np.array([[200.0, -10], [300, -10], [300, 200], [200, 200]])
    one = Predicted(_person(50)[None], np.ones((1, 15)))
    two = Predicted(np.stack([_person(50), _person(260)]), np.ones((2, 15)))
    assert mean(score([(truth, one)])).ap == 50
    ignoring = Annotated(truth.joints, truth.heads, (region,))
    assert mean(score([(ignoring, one)])).ap == 100
    assert mean(score([(ignoring, two)])).ap == 100


def test_no_predictions_score_0() -> None:
    truth = Annotated(_person(50)[None], np.array([[0.0, 0, 30, 40]]))
    no_people = Predicted(np.zeros((0, 15, 2)), np.zeros((0, 15)))
    assert mean(score([(truth, no_people)])).ap == 0


def test_a_joint_that_is_never_annotated_is_left_out_of_the_mean() -> None:
    joints = _person(50)
    joints[3] = np.nan
    truth = Annotated(joints[None], np.array([[0.0, 0, 30, 40]]))
    scores = score([(truth, Predicted(_person(50)[None], np.ones((1, 15))))])
    assert np.isnan(scores[3].ap)
    assert mean(scores).ap == 100
