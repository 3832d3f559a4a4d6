"""What a reader believed at the moment of a frame, compared with what was seen in it once its message came."""

from __future__ import annotations

from collections import deque

import numpy as np

from stream.protocol.pose_message import PoseMessage

MIN_SCORE = 0.3
"""Joints with lower scores are not compared."""

_REMEMBERED = 32
_MAX_CAMERAS = 1000


class Hindsight:
    """Remembers the last messages of each camera."""

    def __init__(self) -> None:
        self._messages: dict[str, deque[PoseMessage]] = {}

    def observe(self, message: PoseMessage) -> PoseMessage | None:
        """Remember a message; return the newest earlier one that had arrived when its frame was captured, with its
        people where they were expected then (:meth:`PoseMessage.at`). None if there was none."""
        if message.camera not in self._messages and len(self._messages) >= _MAX_CAMERAS:
            del self._messages[next(iter(self._messages))]
        earlier = self._messages.setdefault(message.camera, deque(maxlen=_REMEMBERED))
        known = next(
            (one for one in reversed(earlier) if one.received_ns <= message.wall_ns < message.received_ns), None
        )
        earlier.append(message)
        return None if known is None else known.at(message.wall_ns)


def measure_error(expected: PoseMessage, seen: PoseMessage) -> float | None:
    """The mean distance of the joints that both have, by id, px; None if there are none.

    >>> from stream.protocol.pose_message import Person
    >>> one, two = (PoseMessage("hall", 0, 0, 0, 0, (9, 9), "x", (Person(1, (0, 0, 9, 9), 0.9, np.array(joints)),))
    ...             for joints in ([[1, 2, 0.9], [0, 0, 0.1]], [[4, 6, 0.9], [9, 9, 0.9]]))
    >>> measure_error(one, two)
    5.0
    """
    pairs = [(person.keypoints, other.keypoints) for person in expected.people if (other := seen.person(person.id))]
    same = [(one, other) for one, other in pairs if one.shape == other.shape]
    if not same:
        return None
    before, after = (np.concatenate(each) for each in zip(*same, strict=True))
    both = (before[:, 2] >= MIN_SCORE) & (after[:, 2] >= MIN_SCORE)
    return float(np.linalg.norm((before - after)[both, :2], axis=1).mean()) if both.any() else None
