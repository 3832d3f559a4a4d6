"""``track``: gives every person an id that stays theirs from frame to frame."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from engines.inference.detector_families import overlap
from stream.caps import Caps
from stream.element import Transform
from stream.messages import People, Poses

if TYPE_CHECKING:
    from trackers import BoTSORTTracker

Somebody = TypeVar("Somebody", bound=People | Poses)
"""What has boxes; keypoints stay with theirs."""

NOBODY = -1
RATE = 30.0
"""What the tracker believes the frame rate to be: it is told a time that goes on by 1/30 s with every usual step."""

LONGEST_STEP_S = 10.0
"""A longer pause, or a clock that goes back (a clip that loops, a camera that reconnects), tells nothing of motion."""

STEPS = 15
"""How many of the last steps tell what is usual: their median forgets a burst of dropped frames."""

SAME_PERSON_IOU = 0.3
"""After a restart, a box is the remembered person's when they overlap by so much; a person who walks moves a third of a
box width in the quarter of a second that a restart takes."""


@dataclass
class Track(Transform):
    """Follows people by where they are heading and how their boxes overlap (BoT-SORT without appearance, one tracker a
    camera); ids survive missed detections and crossings.

    It stands after ``detect``, or after ``posedetect``: keypoints stay with their boxes. Every detection keeps its box
    and its place. Its id is -1 until ``confirm`` detections in a row agree that there is somebody (at once for those of
    a camera's first picture with people), so that a false alarm of one frame gets no id. On frames that the detector
    skipped, boxes are carried along each person's motion. Ids begin at 1 in each camera and are never given twice, also
    when the stage was restarted; those in view then keep theirs.

    Chosen by measurement, see docs/reference/models.md: ByteTrack's motion model is in absolute pixels and lost people
    whose boxes widen and narrow at 10 frames a second; BoT-SORT's goes with the height of the person.
    """

    sink = Caps("people/boxes|people/poses")
    src = Caps("people/boxes|people/poses")

    max_lost_s: Annotated[
        float, Meta(ge=0, le=60, description="seconds for which an id is kept for somebody who is not seen")
    ] = 1.0
    confirm: Annotated[int, Meta(ge=1, le=30, description="detections in a row that make a person")] = 2
    new_score: Annotated[float, Meta(ge=0, le=1, description="score a detection must have to begin a person")] = 0.6
    high_score: Annotated[
        float, Meta(ge=0, le=1, description="detections below it may only continue somebody who was seen a frame ago")
    ] = 0.5

    def __post_init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}

    def __enter__(self) -> Self:
        self._cameras = {}
        # The library takes most of a second to import: before the first frame, not upon it.
        importlib.import_module("trackers")
        return self

    def process(self, item: People | Poses) -> Iterator[People | Poses]:
        name = item.frame.camera
        if name not in self._cameras:
            self._cameras[name] = _Camera(self._tracker(), _Ids(self.context.memory, name), self.max_lost_s)
        camera = self._cameras[name]
        yield camera.carry(item) if isinstance(item, People) and not item.detected else camera.follow(item)

    def flush(self, camera: str | None = None) -> Iterator[People]:
        """A camera that begins again begins with nobody."""
        for name in list(self._cameras) if camera is None else [camera]:
            if ended := self._cameras.pop(name, None):
                ended.forget()
        yield from ()

    def _tracker(self) -> BoTSORTTracker:
        from trackers import BoTSORTTracker

        return BoTSORTTracker(
            frame_rate=RATE,
            track_activation_threshold=self.new_score,
            high_conf_det_threshold=self.high_score,
            minimum_consecutive_frames=self.confirm,
            # Pixels would have to be read a second time, and fixed cameras do not move.
            enable_cmc=False,
        )


class _Clock:
    """A camera's time, in steps from one look of the detector to the next.

    The tracker's filter was tuned on steps of one frame; told true seconds, it follows every wobble of a box at 3 to 10
    looks a second and loses people (measured on the aerobics clip: 19 ids instead of 3 at 5 looks a second). Told only
    that one look follows another, it loses those who walk while frames are dropped (measured on TUD-Campus, 5 of every
    17 frames dropped: IDF1 .745 against .996). So a usual step counts 1, and a longer one what it is of the usual.
    """

    def __init__(self) -> None:
        self._pts_ns: int | None = None
        self._steps_s = deque([1 / RATE], maxlen=STEPS)
        self.steps = 0.0
        """Steps since the start; never goes back nor stands still."""

    @property
    def usual_s(self) -> float:
        """The usual step: the median of the last ones."""
        return median(self._steps_s)

    def advance(self, pts_ns: int) -> None:
        """A look, at ``pts_ns``."""
        step = self._step_s(pts_ns)
        if step is None:
            self.steps += 1
        else:
            if self.steps <= 1:
                self._steps_s.clear()
            self._steps_s.append(step)
            self.steps += step / self.usual_s
        self._pts_ns = pts_ns

    def ahead(self, pts_ns: int) -> float:
        """How many steps after the last look ``pts_ns`` is."""
        return (self._step_s(pts_ns) or 0.0) / self.usual_s

    def _step_s(self, pts_ns: int) -> float | None:
        """Seconds since the last look; None where they tell nothing."""
        step = 0.0 if self._pts_ns is None else (pts_ns - self._pts_ns) / 1e9
        return step if 0 < step <= LONGEST_STEP_S else None


class _Camera:
    """One camera's people: the tracker, its clock, and what it last saw."""

    def __init__(self, tracker: BoTSORTTracker, ids: _Ids, max_lost_s: float) -> None:
        self._tracker = tracker
        self._ids = ids
        self._max_lost_s = max_lost_s
        self._clock = _Clock()
        self._last: _Seen | None = None

    def follow(self, people: Somebody) -> Somebody:
        """The same people with ids."""
        self._clock.advance(people.frame.pts_ns)
        tracked = self._update(people) if len(people.boxes) or self._tracker.tracks else people.ids
        ids = self._ids.of(tracked, people.boxes)
        self._ids.forget_all_but({track.tracker_id for track in self._tracker.tracks})
        self._last = _Seen(people.boxes, people.scores, ids, tracked)
        return replace(people, ids=ids)

    def carry(self, people: People) -> People:
        """Everybody of the last detected frame, moved on to now."""
        if self._last is None:
            return people
        steps = self._clock.ahead(people.frame.pts_ns)
        moves = {track.tracker_id: _displacement(track.state_estimator, steps) for track in self._tracker.tracks}
        boxes = self._last.boxes.copy()
        for row, number in enumerate(int(number) for number in self._last.tracked):
            if number != NOBODY and number in moves:
                boxes[row] += moves[number]
        return replace(people, boxes=boxes, scores=self._last.scores, ids=self._last.ids)

    def forget(self) -> None:
        """Nobody of this camera will be seen again."""
        self._ids.forget_everybody()

    def _update(self, people: People | Poses) -> NDArray[np.int64]:
        """The tracker's own number for each box, in order; it gives them back in its own order, and may drop some."""
        from supervision import Detections

        given = Detections(
            xyxy=people.boxes.astype(np.float64), confidence=people.scores, class_id=np.arange(len(people.boxes))
        )
        # The tracker's budget is in its own time, where a usual step is 1/30 s.
        self._tracker.maximum_time_without_update = self._max_lost_s / self._clock.usual_s / RATE
        found = self._tracker.update(given, timestamp=self._clock.steps / RATE)
        tracked = np.full(len(people.boxes), NOBODY, np.int64)
        if found.class_id is not None and found.tracker_id is not None:
            tracked[found.class_id] = found.tracker_id
        return tracked


@dataclass(frozen=True)
class _Seen:
    """What a detected frame showed; ``tracked`` are the tracker's own numbers."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    tracked: NDArray[np.int64]


def _displacement(estimator: Any, steps: float) -> NDArray[np.float64]:
    """How far (4,) the filter expects a box to move in so many steps; leaves the filter as it was."""
    before, state = estimator.state_to_bbox().copy(), estimator.get_state()
    estimator.predict(steps, RATE)
    after = estimator.state_to_bbox().copy()
    estimator.set_state(state)
    return np.asarray(after - before, np.float64)


class _Ids:
    """This camera's ids: each once, for ever. In memory that outlives the stage are the next one, and where everybody
    was last, so that after a restart they are known again."""

    def __init__(self, memory: MutableMapping[str, int], camera: str) -> None:
        self._memory = memory
        self._next, self._place = f"next_id:{camera}", f"box:{camera}:"
        self._known: dict[int, int] = {}
        self._remembered = _boxes_under(memory, self._place)

    def of(self, tracked: Sequence[int] | NDArray[np.int64], boxes: NDArray[np.float32]) -> NDArray[np.int64]:
        """Our ids for the tracker's numbers (N,); -1 stays -1."""
        ids = np.full(len(boxes), NOBODY, np.int64)
        for row, number in enumerate(int(number) for number in tracked):
            if number != NOBODY:
                ids[row] = self._id(number, boxes[row])
                self._memory[f"{self._place}{ids[row]}"] = _packed(boxes[row])
        return ids

    def forget_all_but(self, numbers: set[int]) -> None:
        """Everybody else the tracker has given up; their ids are never given again."""
        for number in self._known.keys() - numbers:
            self._memory.pop(f"{self._place}{self._known.pop(number)}", None)
        if self._known:
            # Those in view have been recognised by now, or are somebody else.
            for identity in self._remembered.keys() - set(self._known.values()):
                self._memory.pop(f"{self._place}{identity}", None)
            self._remembered = {}

    def forget_everybody(self) -> None:
        """Keep nothing but the next id."""
        for name in [name for name in self._memory if name.startswith(self._place)]:
            del self._memory[name]
        self._known, self._remembered = {}, {}

    def _id(self, number: int, box: NDArray[np.float32]) -> int:
        if number not in self._known:
            self._known[number] = self._recognised(box) or self._new()
        return self._known[number]

    def _recognised(self, box: NDArray[np.float32]) -> int | None:
        """Whose remembered box this one overlaps most, if anybody's enough; nobody is recognised twice."""
        if not self._remembered:
            return None
        identities = list(self._remembered)
        shared = overlap(box, np.stack([self._remembered[identity] for identity in identities]))
        best = int(shared.argmax())
        if shared[best] < SAME_PERSON_IOU:
            return None
        del self._remembered[identities[best]]
        return identities[best]

    def _new(self) -> int:
        identity = self._memory.get(self._next, 1)
        self._memory[self._next] = identity + 1
        return identity


_BITS = 15
_LARGEST = 2**_BITS - 1


def _packed(box: NDArray[np.float32]) -> int:
    """A box in whole pixels as one integer of 60 bits."""
    number = 0
    for edge in np.clip(np.rint(box), 0, _LARGEST):
        number = number << _BITS | int(edge)
    return number


def _boxes_under(memory: Mapping[str, int], prefix: str) -> dict[int, NDArray[np.float32]]:
    """The remembered boxes by id."""
    names = [name for name in memory if name.startswith(prefix)]
    return {int(name.removeprefix(prefix)): _unpacked(memory[name]) for name in names}


def _unpacked(number: int) -> NDArray[np.float32]:
    edges = [number >> _BITS * place & _LARGEST for place in (3, 2, 1, 0)]
    return np.array(edges, np.float32)
