"""``window``: gathers the frames around each key frame, so that a temporal model sees past and future.

Positions in a window are true to time: slot ``past + d`` belongs to frame ``seq + d`` of the camera, also where that
frame never came. A hole is filled by the nearest frame that did, the earlier one of two equally near, and says so
(``repeated``); before the first frame and after the last, these stand in for what never was (``padded``), as the
papers do at the ends of a clip.
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
    """Keeps a ring of frames for each camera and gives, for every frame, the window around it.

    How many frames before (``past``) and after (``future``) the model downstream fixes when the line is linked; without
    one, and without these properties, a window is its key frame alone. A window leaves as soon as its last frame, or a
    later one, has come: ``future`` frames is what it adds to the latency.

    More than ``max_gap`` missing frames, a change of the picture's size, or a ``seq`` that goes back ends the ring as
    the end of the stream would, and starts a new one: motion across such a cut means nothing.
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
        int, Meta(ge=0, description="so many missing frames in a row are bridged; after more, windows start anew")
    ] = 15

    def __post_init__(self) -> None:
        self._span = self.past or 0, self.future or 0
        self._rings: dict[str, _Ring] = {}

    def offers(self, sink: Caps | None) -> Caps:  # noqa: ARG002
        """``people/window`` with what the properties fix; the rest stays open for the model."""
        fixed = {"past": self.past, "future": self.future}
        return Caps("people/window", {name: value for name, value in fixed.items() if value is not None})

    def fixates(self, src: Caps) -> Caps:
        return Caps(src.media, {"past": 0, "future": 0, **src.fields})

    def negotiated(self, sink: Caps | None, src: Caps | None) -> None:  # noqa: ARG002
        if src is not None:
            self._span = src.get("past"), src.get("future")

    @property
    def reach(self) -> int:
        """``past``: holes only bring a window's frames nearer in items, never further away."""
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
            yield self._stamped(ring.pop())

    def flush(self, camera: str | None = None) -> Iterator[Window]:
        for name in list(self._rings) if camera is None else [camera]:
            if ring := self._rings.pop(name, None):
                while ring.waiting:
                    yield self._stamped(ring.pop())

    def _stamped(self, window: Window) -> Window:
        """The window with ``window_ready`` in its key frame's ledger."""
        key_frame = window.key_frame.stamped("window_ready", self.context.now_ns())
        frames = (*window.frames[: window.index], key_frame, *window.frames[window.index + 1 :])
        return replace(window, frames=frames, people=replace(window.people, frame=key_frame))


class _Ring:
    """The frames of one camera since its start or its last cut, as long as a window may still need them."""

    def __init__(self, past: int, future: int) -> None:
        self.past, self.future = past, future
        self.waiting: deque[People] = deque()
        """People whose own window has not left yet, oldest first."""
        self._frames: list[Frame] = []
        self._start = 0

    def is_cut_by(self, frame: Frame, max_gap: int) -> bool:
        """Whether ``frame`` cannot be of the same motion as the one before it."""
        last = self._frames[-1]
        return not 0 < frame.seq - last.seq <= max_gap + 1 or frame.size != last.size

    def append(self, people: People) -> None:
        if not self._frames:
            self._start = people.frame.seq
        self._frames.append(people.frame)
        self.waiting.append(people)

    @property
    def is_ready(self) -> bool:
        """Whether all that the oldest waiting window may still get has come."""
        return bool(self.waiting) and self._frames[-1].seq >= self.waiting[0].frame.seq + self.future

    def pop(self) -> Window:
        """The window of the oldest waiting people, from what there is."""
        people = self.waiting.popleft()
        seq = people.frame.seq
        slots = [self._slot(at) for at in range(seq - self.past, seq + self.future + 1)]
        self._forget(seq)
        frames, states = zip(*slots, strict=True)
        return Window(frames, states, self.past, people)

    def _slot(self, seq: int) -> tuple[Frame, FrameState]:
        index = bisect_left(self._frames, seq, key=lambda frame: frame.seq)
        if seq < self._start:
            return self._frames[0], "padded"
        if index == len(self._frames):
            return self._frames[-1], "padded"
        if self._frames[index].seq == seq:
            return self._frames[index], "real"
        before, after = self._frames[index - 1], self._frames[index]
        return (before if seq - before.seq <= after.seq - seq else after), "repeated"

    def _forget(self, seq: int) -> None:
        """Drop what no later window can hold: all but ``past`` frames before the next key frame. One is always kept, to
        know a cut by."""
        index = bisect_left(self._frames, seq, key=lambda frame: frame.seq)
        del self._frames[: max(0, index + 1 - max(1, self.past))]
