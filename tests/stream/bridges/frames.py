"""Messages as a subscriber receives them."""

from __future__ import annotations

import numpy as np

from stream.protocol.pose_message import Person, PoseMessage

JOINTS = ("nose", "left_eye")


def make_message(seq: int, camera: str = "hall", people: int = 1, *, retained: bool = False) -> PoseMessage:
    """A message of people at x = 10 times their id."""
    keypoints = [np.array([[10 * i, 5, 0.75], [10 * i + 1.26, 4, 0.5]], np.float32) for i in range(1, people + 1)]
    found = tuple(Person(i, (0.0, 0.0, 9.0, 9.5), 0.9, kps, JOINTS) for i, kps in enumerate(keypoints, 1))
    wall_ns = 1_700_000_000_000_000_000 + seq * 40_000_000
    return PoseMessage(
        camera, seq, seq, 0, wall_ns, (640, 480), "coco17", found, retained=retained, joints=JOINTS, received_ns=wall_ns
    )
