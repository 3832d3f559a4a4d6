"""``track``: assigns ids that follow people from frame to frame."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.vision.boxes import compute_iou
from stream.caps import Caps
from stream.element import Transform
from stream.messages import NO_ID, People, Poses

if TYPE_CHECKING:
    from trackers import BoTSORTTracker

Tracks = TypeVar("Tracks", bound=People | Poses)
"""Messages with boxes."""

RATE = 30.0
"""The tracker's nominal frame rate: the time passed to it advances by 1/30 s per typical step."""

LONGEST_STEP_S = 10.0
"""A longer pause, or a clock that goes back (a loop, a reconnection), says nothing about motion."""

STEPS = 15
"""Number of recent steps whose median is the typical step: it ignores a burst of dropped frames."""

SAME_PERSON_IOU = 0.3
"""After a restart, a box belongs to a stored person if they overlap by this much; a person who walks moves a third of a
box width in the quarter of a second that a restart takes."""


@dataclass
class Track(Transform):
    """Tracks people by motion and box overlap (BoT-SORT without appearance, one tracker per camera); ids survive missed
    detections and crossings.

    Put it after ``detect`` or ``posedetect``. Boxes, keypoints and their order are unchanged. The id of a detection is
    -1 until ``confirm`` detections in a row confirm the person (at once in a camera's first frame with people), so that
    a false detection in one frame gets no id. On frames that the detector skipped, boxes are moved along each person's
    motion. Ids start at 1 in each camera and are never reused, also across restarts of its part; people then keep
    theirs.

    The tracker was chosen by measurement, see docs/reference/models.md: ByteTrack's motion model is in absolute pixels
    and lost people whose boxes widen and narrow at 10 frames per second; BoT-SORT's is relative to the height of the
    person.
    """

    sink = Caps("people/boxes|people/poses")
    src = Caps("people/boxes|people/poses")

    max_lost_s: Annotated[
        float, Meta(ge=0, le=60, description="seconds for which the id of an unseen person is kept")
    ] = 1.0
    confirm: Annotated[int, Meta(ge=1, le=30, description="detections in a row that confirm a person")] = 2
    new_score: Annotated[float, Meta(ge=0, le=1, description="lowest score of a detection that starts a track")] = 0.6
    high_score: Annotated[
        float, Meta(ge=0, le=1, description="detections below it only continue tracks seen in the previous frame")
    ] = 0.5

    def __post_init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}

    def __enter__(self) -> Self:
        self._cameras = {}
        # The library takes most of a second to import: do it before the first frame.
        importlib.import_module("trackers")
        return self

    def process(self, item: People | Poses) -> Iterator[People | Poses]:
        name = item.frame.camera
        if name not in self._cameras:
            self._cameras[name] = _Camera(self._tracker(), _Ids(self.context.memory, name), self.max_lost_s)
        camera = self._cameras[name]
        yield camera.extrapolate(item) if isinstance(item, People) and not item.detected else camera.track(item)

    def flush(self, camera: str | None = None) -> Iterator[People]:
        """Drop the tracks of ``camera``; nothing is held back."""
        for name in list(self._cameras) if camera is None else [camera]:
            if ended := self._cameras.pop(name, None):
                ended.clear()
        yield from ()

    def _tracker(self) -> BoTSORTTracker:
        from trackers import BoTSORTTracker

        return BoTSORTTracker(
            frame_rate=RATE,
            track_activation_threshold=self.new_score,
            high_conf_det_threshold=self.high_score,
            minimum_consecutive_frames=self.confirm,
            # Camera motion compensation would read the pixels again, and fixed cameras do not move.
            enable_cmc=False,
        )


class _Clock:
    """A camera's time, in steps from one detection to the next.

    The tracker's filter was tuned on steps of one frame. With real seconds, it follows every jitter of a box at 3 to 10
    detections per second and loses people (measured on the aerobics clip: 19 ids instead of 3 at 5 per second). With
    equal steps, it loses people who walk while frames are dropped (measured on TUD-Campus, 5 of every 17 frames
    dropped: IDF1 .745 against .996). So a typical step counts 1, and a longer one its ratio to the typical step.
    """

    def __init__(self) -> None:
        self._pts_ns: int | None = None
        self._steps_s = deque([1 / RATE], maxlen=STEPS)
        self.steps = 0.0
        """Steps since the start; always increasing."""

    @property
    def typical_step_s(self) -> float:
        """The median of the last steps."""
        return median(self._steps_s)

    def advance(self, pts_ns: int) -> None:
        """Advance to a detection at ``pts_ns``."""
        step = self._step_s(pts_ns)
        if step is None:
            self.steps += 1
        else:
            if self.steps <= 1:
                self._steps_s.clear()
            self._steps_s.append(step)
            self.steps += step / self.typical_step_s
        self._pts_ns = pts_ns

    def steps_until(self, pts_ns: int) -> float:
        """Steps from the last detection to ``pts_ns``."""
        return (self._step_s(pts_ns) or 0.0) / self.typical_step_s

    def _step_s(self, pts_ns: int) -> float | None:
        """Seconds since the last detection; None if they say nothing about motion."""
        step = 0.0 if self._pts_ns is None else (pts_ns - self._pts_ns) / 1e9
        return step if 0 < step <= LONGEST_STEP_S else None


class _Camera:
    """One camera: its tracker, clock and last detections."""

    def __init__(self, tracker: BoTSORTTracker, ids: _Ids, max_lost_s: float) -> None:
        self._tracker = tracker
        self._ids = ids
        self._max_lost_s = max_lost_s
        self._clock = _Clock()
        self._last: _Tracked | None = None

    def track(self, people: Tracks) -> Tracks:
        """Return the same people with ids."""
        self._clock.advance(people.frame.pts_ns)
        track_ids = self._update(people) if len(people.boxes) or self._tracker.tracks else people.ids
        ids = self._ids.assign(track_ids, people.boxes)
        self._ids.keep_only({track.tracker_id for track in self._tracker.tracks})
        if self._clock.steps * self._clock.typical_step_s > self._max_lost_s:
            self._ids.forget_restored()
        self._last = _Tracked(people.boxes, people.scores, ids, track_ids)
        return replace(people, ids=ids)

    def extrapolate(self, people: People) -> People:
        """Return the people of the last detected frame, moved to the time of this one."""
        if self._last is None:
            return people
        steps = self._clock.steps_until(people.frame.pts_ns)
        moves = {track.tracker_id: _displacement(track.state_estimator, steps) for track in self._tracker.tracks}
        boxes = self._last.boxes.copy()
        for row, track_id in enumerate(self._last.track_ids.tolist()):
            if track_id != NO_ID and track_id in moves:
                boxes[row] += moves[track_id]
        return replace(people, boxes=boxes, scores=self._last.scores, ids=self._last.ids)

    def clear(self) -> None:
        """Drop all tracks of this camera."""
        self._ids.clear()

    def _update(self, people: People | Poses) -> NDArray[np.int64]:
        """Return the tracker's id of each box, in order; the tracker reorders the boxes and may drop some."""
        from supervision import Detections

        detections = Detections(
            xyxy=people.boxes.astype(np.float64), confidence=people.scores, class_id=np.arange(len(people.boxes))
        )
        # The tracker's limit is in its own time, where a typical step is 1/30 s.
        self._tracker.maximum_time_without_update = self._max_lost_s / self._clock.typical_step_s / RATE
        tracked = self._tracker.update(detections, timestamp=self._clock.steps / RATE)
        track_ids = np.full(len(people.boxes), NO_ID, np.int64)
        if tracked.class_id is not None and tracked.tracker_id is not None:
            track_ids[tracked.class_id] = tracked.tracker_id
        return track_ids


@dataclass(frozen=True)
class _Tracked:
    """The people of a detected frame; ``track_ids`` are the tracker's own ids."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    track_ids: NDArray[np.int64]


def _displacement(estimator: Any, steps: float) -> NDArray[np.float64]:
    """Predict how a box (4,) moves in ``steps``, px; the filter's state is unchanged."""
    before, state = estimator.state_to_bbox().copy(), estimator.get_state()
    estimator.predict(steps, RATE)
    after = estimator.state_to_bbox().copy()
    estimator.set_state(state)
    return np.asarray(after - before, np.float64)


class _Ids:
    """The ids of one camera, which are never reused.

    Memory that survives a restart holds the next id and the last box of every person, so that people keep their ids:
    those in view, and those who come back within ``max_lost_s``, as they would have without the restart.
    """

    def __init__(self, memory: MutableMapping[str, int], camera: str) -> None:
        self._memory = memory
        self._next, self._prefix = f"next_id:{camera}", f"box:{camera}:"
        self._ids: dict[int, int] = {}
        self._restored = _read_boxes(memory, self._prefix)

    def assign(self, track_ids: NDArray[np.int64], boxes: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return our ids (N,) for the tracker's; -1 stays -1, but for people from before a restart."""
        ids = np.full(len(boxes), NO_ID, np.int64)
        free = dict(self._restored)  # each is matched once in a frame
        for row in np.argsort(track_ids == NO_ID, kind="stable"):  # those that are confirmed choose first
            track_id, box = int(track_ids[row]), boxes[row]
            if track_id in self._ids:
                ids[row] = self._ids[track_id]
            elif track_id != NO_ID:
                ids[row] = self._ids[track_id] = person = _take_nearest(free, box) or self._new_id()
                self._restored.pop(person, None)
            elif (found := _take_nearest(free, box)) is not None:
                ids[row], self._restored[found] = found, box
            if ids[row] != NO_ID:
                self._memory[f"{self._prefix}{ids[row]}"] = _pack(box)
        return ids

    def keep_only(self, track_ids: set[int]) -> None:
        """Drop the tracks that the tracker has dropped; their ids are not reused."""
        for track_id in self._ids.keys() - track_ids:
            self._memory.pop(f"{self._prefix}{self._ids.pop(track_id)}", None)

    def forget_restored(self) -> None:
        """Drop people from before a restart who have not come back."""
        for person in self._restored:
            self._memory.pop(f"{self._prefix}{person}", None)
        self._restored = {}

    def clear(self) -> None:
        """Drop everything but the next id."""
        for name in [name for name in self._memory if name.startswith(self._prefix)]:
            del self._memory[name]
        self._ids, self._restored = {}, {}

    def _new_id(self) -> int:
        person = self._memory.get(self._next, 1)
        self._memory[self._next] = person + 1
        return person


def _take_nearest(people: dict[int, NDArray[np.float32]], box: NDArray[np.float32]) -> int | None:
    """Remove from ``people`` the one whose box overlaps ``box`` most, if enough, and return the id."""
    if not people:
        return None
    ious = compute_iou(box[None], np.stack(list(people.values())))[0]
    best = int(ious.argmax())
    if ious[best] < SAME_PERSON_IOU:
        return None
    person = list(people)[best]
    del people[person]
    return person


_BITS = 15
_LARGEST = 2**_BITS - 1


def _pack(box: NDArray[np.float32]) -> int:
    """Pack a box, in whole pixels, into an integer of 60 bits."""
    number = 0
    for edge in np.clip(np.rint(box), 0, _LARGEST):
        number = number << _BITS | int(edge)
    return number


def _read_boxes(memory: Mapping[str, int], prefix: str) -> dict[int, NDArray[np.float32]]:
    """Read the stored boxes, by id."""
    names = [name for name in memory if name.startswith(prefix)]
    return {int(name.removeprefix(prefix)): _unpack(memory[name]) for name in names}


def _unpack(number: int) -> NDArray[np.float32]:
    edges = [number >> _BITS * index & _LARGEST for index in (3, 2, 1, 0)]
    return np.array(edges, np.float32)
