"""The people in one frame, as a subscriber receives them; :mod:`stream.protocol.schema` reads them from the wire."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stream.messages import NO_ID, WindowFrame

if TYPE_CHECKING:
    from supervision import Detections, KeyPoints


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a frame, and a mapping from the names of joints to keypoints.

    ``box`` is x1, y1, x2, y2 in px; ``keypoints`` (K, 3) float32: x px, y px, score in 0..1, in the skeleton's order.
    ``joints`` are the names of the K keypoints. ``person["left_wrist"]`` is a row of ``keypoints``, and
    ``dict(person)`` has all of them. ``predicted`` (K, 5) float32 is where the joints will be at the message's
    ``predicted_for_ns``: x px, y px, the speed along x and y, px/s, and the spread, px, within which a joint will be in
    two of three cases; None without a forecast.

    >>> person = Person(1, (0, 0, 9, 9), 0.9, np.array([[4, 2, 0.8]], np.float32), ("nose",))
    >>> x, y, score = person["nose"]
    >>> float(x), float(y)
    (4.0, 2.0)
    """

    id: int
    box: tuple[float, float, float, float]
    score: float
    keypoints: NDArray[np.float32] = field(repr=False)
    joints: tuple[str, ...] = field(default=(), repr=False)
    predicted: NDArray[np.float32] | None = field(default=None, repr=False)

    def keys(self) -> tuple[str, ...]:
        """The names of the joints."""
        return self.joints

    def __getitem__(self, joint: str) -> NDArray[np.float32]:
        """Return x px, y px and score (3,) of a joint. Raises ``KeyError`` for a joint that the skeleton lacks."""
        if joint not in self.joints:
            known = ", ".join(self.joints) or "none: the publisher has not sent its skeleton"
            raise KeyError(f"no joint {joint!r}; this skeleton has {known}")
        row: NDArray[np.float32] = self.keypoints[self.joints.index(joint)]
        return row

    def __iter__(self) -> Iterator[str]:
        """The names of the joints."""
        return iter(self.joints)

    def moved(self, after_s: float) -> Person:
        """Return the person ``after_s`` after the moment of ``predicted``: the keypoints moved by their speeds, the box
        by the mean motion of all keypoints. Without a forecast, the person unchanged."""
        if self.predicted is None or not len(self.predicted):
            return self
        keypoints = self.keypoints.copy()
        keypoints[:, :2] = self.predicted[:, :2] + np.float32(after_s) * self.predicted[:, 2:4]
        right, down = (keypoints[:, :2] - self.keypoints[:, :2]).mean(0, np.float64).tolist()
        x1, y1, x2, y2 = self.box
        return replace(self, keypoints=keypoints, box=(x1 + right, y1 + down, x2 + right, y2 + down))


@dataclass(frozen=True, slots=True)
class PoseMessage:
    """The people in one frame of one camera, as a subscriber receives them.

    ``seq`` numbers the messages of a camera without gaps, so a gap is a loss; ``frame_seq`` is the number of the frame.
    ``pts_ns`` is the source's own clock. ``wall_ns`` (capture), the values of ``ledger`` and ``received_ns`` are ns
    since 1970 UTC, the last by the subscriber's clock. ``size`` is (width, height) in px. ``retained`` is True for the
    last message before the subscription, which may be old. ``joints`` are the names of the keypoints.
    ``predicted_for_ns`` is the moment that the forecasts of the people are for, and ``predicted_until_ns`` the last one
    to which they may be extrapolated; None in a message without forecasts. ``file`` is the path of the picture or video
    that the frame was read from, as the line was given it; empty for a camera.

    >>> message = PoseMessage("hall", 0, 7, 0, 1_000_000_000, (640, 480), "coco17", (), received_ns=1_040_000_000)
    >>> message.age_ms, message.ids
    (40.0, ())
    """

    camera: str
    seq: int
    frame_seq: int
    pts_ns: int
    wall_ns: int
    size: tuple[int, int]
    skeleton: str
    people: tuple[Person, ...]
    model: str = ""
    fingerprint: str = ""
    window: tuple[WindowFrame, ...] = ()
    ledger: Mapping[str, int] = field(default_factory=dict)
    session: str = ""
    received_ns: int = 0
    retained: bool = False
    joints: tuple[str, ...] = ()
    predicted_for_ns: int | None = None
    predicted_until_ns: int | None = None
    file: str = ""

    def at(self, now_ns: int | None = None) -> PoseMessage:
        """Return the message with its people where they are at ``now_ns``, ns since 1970 UTC; None for this moment.

        Boxes and keypoints follow the forecasts, which are extrapolated from ``wall_ns`` to ``predicted_until_ns`` and
        not beyond; without forecasts (``predict`` in the line), the message is returned unchanged. The publisher's
        times are those of its host: on another host, clocks must agree.

        >>> still = np.array([[10, 20, 0.9]], np.float32)
        >>> right = np.array([[13, 20, 100, 0, 2]], np.float32)
        >>> person = Person(1, (0, 0, 20, 40), 0.9, still, ("nose",), right)
        >>> message = PoseMessage("hall", 0, 7, 0, 0, (640, 480), "coco17", (person,), predicted_for_ns=30_000_000,
        ...                       predicted_until_ns=90_000_000)
        >>> [message.at(milliseconds * 1_000_000).people[0]["nose"][0].item() for milliseconds in (-1, 30, 40, 1000)]
        [10.0, 13.0, 14.0, 19.0]
        """
        if self.predicted_for_ns is None or self.predicted_until_ns is None:
            return self
        wanted_ns = time.time_ns() if now_ns is None else now_ns
        moment_ns = min(max(wanted_ns, self.wall_ns), self.predicted_until_ns)
        after_s = (moment_ns - self.predicted_for_ns) / 1e9
        return replace(self, people=tuple(person.moved(after_s) for person in self.people))

    def to_supervision(self) -> tuple[KeyPoints, Detections]:
        """Convert the people to ``KeyPoints`` and ``Detections`` of the package supervision, in the same order.

        Coordinates are px as in ``keypoints``; ``Detections`` have the boxes, and the ids as ``tracker_id`` (None where
        no person has one).

        >>> person = Person(3, (0, 0, 9, 9), 0.9, np.array([[4, 2, 0.8]], np.float32), ("nose",))
        >>> key_points, detections = PoseMessage("hall", 0, 7, 0, 0, (640, 480), "one", (person,)).to_supervision()
        >>> key_points.xy.tolist(), detections.tracker_id.tolist()
        ([[[4.0, 2.0]]], [3])
        """
        return to_supervision(self.people, len(self.joints))

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the people, in order."""
        return tuple(person.id for person in self.people)

    @property
    def age_ms(self) -> float:
        """Time from capture to reception, in ms; between hosts, as accurate as their clocks."""
        return (self.received_ns - self.wall_ns) / 1e6

    def person(self, person_id: int) -> Person | None:
        """Return the person with this id, or None if the frame does not have it."""
        return next((person for person in self.people if person.id == person_id), None)


def to_supervision(people: Sequence[Person], joints: int) -> tuple[KeyPoints, Detections]:
    """Convert people with so many ``joints`` to supervision's classes (:meth:`PoseMessage.to_supervision`)."""
    from supervision import Detections, KeyPoints

    count = len(people)
    points = np.array([person.keypoints for person in people], np.float32).reshape(count, -1 if count else joints, 3)
    boxes = np.array([person.box for person in people], np.float32).reshape(count, 4)
    scores = np.array([person.score for person in people], np.float32)
    ids, classes = np.array([person.id for person in people], int), np.zeros(count, int)
    names = {"class_name": np.full(count, "person")}
    key_points = KeyPoints(
        xy=points[..., :2].copy(),
        keypoint_confidence=points[..., 2].copy(),
        detection_confidence=scores,
        class_id=classes,
        data=dict(names),
    )
    is_tracked = bool((ids != NO_ID).any())
    detections = Detections(boxes, None, scores, classes, ids if is_tracked else None, dict(names))
    return key_points, detections
