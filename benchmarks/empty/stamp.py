"""``benchmarks.empty.stamp``: notes the time at which each item passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Transform
from stream.messages import Frame, Message, Window


@dataclass
class Stamp(Transform):
    """Passes every item on with one more ``step`` in the ledger of its frame."""

    sink = Caps(ANY)
    src = Caps(ANY)

    step: Annotated[str, Meta(min_length=1, description="name of the entry")]

    def process(self, item: Message) -> Iterator[Message]:
        if isinstance(item, Frame):
            yield self._stamp(item)
        elif isinstance(item, Window):
            frame = self._stamp(item.key_frame)
            frames = (*item.frames[: item.index], frame, *item.frames[item.index + 1 :])
            yield replace(item, frames=frames, people=replace(item.people, frame=frame))
        else:
            yield replace(item, frame=self._stamp(item.frame))

    def _stamp(self, frame: Frame) -> Frame:
        return frame.stamp(self.step, self.context.now_ns())
