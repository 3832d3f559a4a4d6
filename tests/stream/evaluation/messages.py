"""What tests of live evaluation share: runs of a line, made by hand, about one drawn scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.datasets.synthetic.scene import Scene
from stream.evaluation.runs import Written
from stream.output.results import PersonRecord
from stream.protocol.schema import Person, PoseMessage

FPS = 10.0
SIZE = (320, 240)
BEGIN_NS = 1_764_000_000_000_000_000
STEP_NS = 100_000_000
LINE = "testsrc width=320 height=240 fps=10 seed=39 people=2 ! tests.toys.oracle ! keypointsink"
SCENE = Scene(39, 2, *SIZE)
"""Two people who are both on their way all the time, a fiftieth of their size and more from frame to frame."""


def people(frame: int, *, time_s: float | None = None) -> list[Person]:
    """The exact truth about a frame of :data:`SCENE`."""
    truth = SCENE.truth_at(frame / FPS if time_s is None else time_s)
    keypoints = np.concatenate([truth.keypoints[..., :2], np.ones((len(truth.ids), 17, 1), np.float32)], axis=2)
    return [
        Person(int(row), tuple(box.tolist()), 1.0, points)
        for row, box, points in zip(truth.ids, truth.boxes, keypoints, strict=True)
    ]


def live_run(late_ms: Mapping[int, float], *, first_pts_ns: int = 0) -> list[PoseMessage]:
    """Messages that tell the truth about these frames, each so late."""
    return [
        PoseMessage(
            "testsrc",
            place,
            frame,
            first_pts_ns + frame * STEP_NS,
            BEGIN_NS + frame * STEP_NS,
            SIZE,
            "coco17",
            tuple(people(frame)),
            received_ns=BEGIN_NS + frame * STEP_NS + round(late * 1e6),
        )
        for place, (frame, late) in enumerate(sorted(late_ms.items()))
    ]


def offline_run(frames: int) -> list[Written]:
    """What the offline run wrote: the truth about every frame."""
    return [_written(frame) for frame in range(frames)]


def _written(frame: int) -> Written:
    told = [
        PersonRecord(one.id, one.box, one.score, [(x, y, score) for x, y, score in one.keypoints.tolist()])
        for one in people(frame)
    ]
    return Written("testsrc", frame, SIZE, "coco17", told, frame * STEP_NS)
