"""``window``: collects the frames around each key frame, for temporal models.

Slot ``past + d`` of a window always belongs to frame ``seq + d`` of the camera. If that frame is missing, the nearest
frame takes its place, the earlier one of two equally near, and the slot is marked ``repeated``. Before the first frame
and after the last, those frames are repeated and marked ``padded``, as the papers do at the ends of a clip.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Self

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Frame, FrameState, Key, People, Window

_Count = Annotated[int, Meta(ge=0, le=256)]


@dataclass
class Windower(Transform):
    """Keeps a ring of frames per camera and yields, for every frame, the window around it.

    The model downstream fixes the number of frames before (``past``) and after (``future``) when the line is linked.
    Without a model and without these properties, a window is its key frame alone. A window is complete when its last
    frame, or a later one, has arrived, so it adds a latency of ``future`` frames.

    After more than ``max_gap`` missing frames, a change of the frame size, or a ``seq`` that goes back, the ring is
    flushed as at the end of the stream, and a new one starts: motion across such a cut has no meaning.
    """

    sink = Caps("people/boxes")
    src = Caps("people/window")

    past: Annotated[
        _Count | None, Meta(description="frames before the key frame; fixed by the model when left out")
    ] = None
    future: Annotated[
        _Count | None, Meta(description="frames after the key frame; fixed by the model when left out")
    ] = None
    max_gap: Annotated[
        int, Meta(ge=0, description="missing frames in a row that are filled; after more, a new ring starts")
    ] = 15

    def __post_init__(self) -> None:
        self._span = self.past or 0, self.future or 0
        self._rings: dict[str, _Ring] = {}

    def src_caps(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        """``people/window`` with the fields that the properties fix; the model fixes the others."""
        fixed = {"past": self.past, "future": self.future}
        return Caps("people/window", {name: value for name, value in fixed.items() if value is not None})

    def fixate_caps(self, src: Caps) -> Caps:
        return Caps(src.media, {"past": 0, "future": 0, **src.fields})

    def set_caps(self, sink: Caps | None, src: Caps | None) -> None:  # noqa: ARG002
        if src is not None:
            self._span = src.get("past"), src.get("future")

    @property
    def reach(self) -> int:
        """``past``: missing frames only reduce the number of items a window spans."""
        return self._span[0]

    def pending(self) -> Iterator[Key]:
        return (people.key for ring in self._rings.values() for people in ring.waiting)

    def __enter__(self) -> Self:
        self._rings = {}
        return self

    def process(self, item: People) -> Iterator[Window]:
        ring = self._rings.get(item.frame.camera)
        if ring is not None and ring.is_cut_by(item.frame, self.max_gap):
            yield from self.flush(item.frame.camera)
            ring = None
        if ring is None:
            ring = self._rings[item.frame.camera] = _Ring(*self._span)
        ring.append(item)
        while ring.is_ready:
            yield self._stamp(ring.pop())

    def flush(self, camera: str | None = None) -> Iterator[Window]:
        for name in list(self._rings) if camera is None else [camera]:
            if ring := self._rings.pop(name, None):
                while ring.waiting:
                    yield self._stamp(ring.pop())

    def _stamp(self, window: Window) -> Window:
        """Add ``window_ready`` to the ledger of the window's key frame."""
        key_frame = window.key_frame.stamp("window_ready", self.context.now_ns())
        frames = (*window.frames[: window.index], key_frame, *window.frames[window.index + 1 :])
        return replace(window, frames=frames, people=replace(window.people, frame=key_frame))


class _Ring:
    """The frames of one camera since its start or its last cut that a window may still need."""

    def __init__(self, past: int, future: int) -> None:
        self.past, self.future = past, future
        self.waiting: deque[People] = deque()
        """People whose window is not complete, oldest first."""
        self._frames: list[Frame] = []
        self._start = 0

    def is_cut_by(self, frame: Frame, max_gap: int) -> bool:
        """True if ``frame`` does not continue the motion of the frame before it."""
        last = self._frames[-1]
        return not 0 < frame.seq - last.seq <= max_gap + 1 or frame.size != last.size

    def append(self, people: People) -> None:
        if not self._frames:
            self._start = people.frame.seq
        self._frames.append(people.frame)
        self.waiting.append(people)

    @property
    def is_ready(self) -> bool:
        """True if the oldest waiting window is complete."""
        return bool(self.waiting) and self._frames[-1].seq >= self.waiting[0].frame.seq + self.future

    def pop(self) -> Window:
        """Take the window of the oldest waiting people, from the frames that are there."""
        people = self.waiting.popleft()
        seq = people.frame.seq
        slots = [self._find(other) for other in range(seq - self.past, seq + self.future + 1)]
        self._drop_old(seq)
        frames, states = zip(*slots, strict=True)
        return Window(frames, states, self.past, people)

    def _find(self, seq: int) -> tuple[Frame, FrameState]:
        index = bisect_left(self._frames, seq, key=lambda frame: frame.seq)
        if seq < self._start:
            return self._frames[0], "padded"
        if index == len(self._frames):
            return self._frames[-1], "padded"
        if self._frames[index].seq == seq:
            return self._frames[index], "real"
        before, after = self._frames[index - 1], self._frames[index]
        return (before if seq - before.seq <= after.seq - seq else after), "repeated"

    def _drop_old(self, seq: int) -> None:
        """Keep ``past`` frames before the next key frame, and at least one, to detect a cut by."""
        index = bisect_left(self._frames, seq, key=lambda frame: frame.seq)
        del self._frames[: max(0, index + 1 - max(1, self.past))]
