"""A detector that finds what the pixels say: ``tests.stream.toys.locate``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Frame, People


@dataclass
class Locate(Transform):
    """One person, whose box is the colour of the last pixel; ``step_ms`` is how long it takes."""

    sink = Caps("video/raw")
    src = Caps("people/boxes")

    step_ms: Annotated[float, Meta(ge=0)] = 0.0
    fails_every: Annotated[int, Meta(ge=0, description="raise an exception at every such frame; 0 for none")] = 0
    fails_from: Annotated[int, Meta(ge=-1, description="raise at this frame and all after it; -1 for none")] = -1
    dies_from: Annotated[int, Meta(ge=-1, description="end the process by a signal at this frame; -1 for never")] = -1
    hangs_at: Annotated[int, Meta(ge=-1, description="never return from this frame, in the first life")] = -1

    def process(self, item: Frame) -> Iterator[People]:
        time.sleep(self.step_ms / 1000)
        self._misbehave(item.seq)
        blue, green, red = (float(value) for value in item.pixels[-1, -1])
        yield People.from_boxes(item, [(blue, green, blue + red, green + red)], [1.0])

    def _misbehave(self, seq: int) -> None:
        if self.fails_every and seq % self.fails_every == self.fails_every - 1:
            raise ValueError(f"no luck with {seq}")
        if 0 <= self.fails_from <= seq:
            raise RuntimeError(f"broken since {self.fails_from}")
        if 0 <= self.dies_from <= seq:
            os.kill(os.getpid(), signal.SIGSEGV)
        if seq == self.hangs_at and self.context.incarnation == 0:
            time.sleep(10_000)
