"""Helpers for tests of live evaluation: hand-made runs of a line with one synthetic scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from engines.datasets.synthetic.scene import Scene
from stream.evaluation.runs import OfflineRecord
from stream.output.results import PersonRecord
from stream.protocol.pose_message import Person, PoseMessage

FPS = 10.0
SIZE = (320, 240)
BEGIN_NS = 1_764_000_000_000_000_000
STEP_NS = 100_000_000
LINE = "testsrc width=320 height=240 fps=10 seed=39 people=2 ! tests.toys.oracle ! keypointsink"
SCENE = Scene(39, 2, *SIZE)
"""Two people who always move, by at least a fiftieth of their size from frame to frame."""


def people(frame: int, *, time_s: float | None = None) -> list[Person]:
    """The ground truth of a frame of :data:`SCENE`."""
    truth = SCENE.truth_at(frame / FPS if time_s is None else time_s)
    keypoints = np.concatenate([truth.keypoints[..., :2], np.ones((len(truth.ids), 17, 1), np.float32)], axis=2)
    return [
        Person(int(row), tuple(box.tolist()), 1.0, points)
        for row, box, points in zip(truth.ids, truth.boxes, keypoints, strict=True)
    ]


def forecast_run(late_ms: Mapping[int, float]) -> list[PoseMessage]:
    """Those of :func:`live_run`, with the ground truth of the next frame as forecasts."""
    return [
        replace(
            message,
            people=tuple(
                replace(person, predicted=np.hstack([later.keypoints[:, :2], np.zeros((17, 3), np.float32)]))
                for person, later in zip(message.people, people(message.frame_seq + 1), strict=True)
            ),
            predicted_for_ns=message.wall_ns + STEP_NS,
            predicted_until_ns=message.wall_ns + STEP_NS,
        )
        for message in live_run(late_ms)
    ]


def live_run(late_ms: Mapping[int, float], *, first_pts_ns: int = 0) -> list[PoseMessage]:
    """Messages with the ground truth of these frames, each with its delay."""
    return [
        PoseMessage(
            "testsrc",
            index,
            frame,
            first_pts_ns + frame * STEP_NS,
            BEGIN_NS + frame * STEP_NS,
            SIZE,
            "coco17",
            tuple(people(frame)),
            received_ns=BEGIN_NS + frame * STEP_NS + round(late * 1e6),
        )
        for index, (frame, late) in enumerate(sorted(late_ms.items()))
    ]


def offline_run(frames: int) -> list[OfflineRecord]:
    """The records of the offline run: the ground truth of every frame."""
    return [_make_record(frame) for frame in range(frames)]


def _make_record(frame: int) -> OfflineRecord:
    records = [
        PersonRecord(one.id, one.box, one.score, [(x, y, score) for x, y, score in one.keypoints.tolist()])
        for one in people(frame)
    ]
    return OfflineRecord("testsrc", frame, SIZE, "coco17", records, pts_ns=frame * STEP_NS)
