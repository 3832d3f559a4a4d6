"""``filesrc``: frames from a video, a GIF, a picture, a folder of pictures or a pattern."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Annotated, Literal, Self

from msgspec import Meta

from stream.caps import Caps
from stream.capture.decoded_picture import Shot
from stream.capture.files import find
from stream.capture.frame_conversion import frame_of
from stream.capture.playlist import Media, lasting
from stream.element import Source
from stream.errors import SourceError
from stream.messages import Frame
from stream.registry import label

_NAP_S = 0.25
"""The longest wait without a word to whoever runs the source; twice a second is asked for."""


@dataclass
class Filesrc(Source):
    """Frames from a file, in the order of showing, each with its own time: ``pts_ns`` keeps a variable frame rate.

    Pictures come upright (display matrix, EXIF) as (H, W, 3) uint8 BGR; a change of size within a file or folder is
    just a frame of another size. A file waits for the line, so nothing is dropped, unless ``realtime`` makes it behave
    as a camera does: frames come at their time whether or not the line is ready, and those that are late are skipped.

    Raises :class:`SourceError` for what is missing, empty, no video or damaged; of a damaged file all frames before the
    damage come first, since they are good (``docs/how-to/sources.md``).
    """

    src = Caps("video/raw")

    location: Annotated[
        str, Meta(description="a video, GIF or picture, a folder of pictures, or a pattern as in 'shots/*.png'")
    ]
    camera: Annotated[str, Meta(description="what the frames' camera is called; empty for the element's own name")] = ""
    start: Annotated[int, Meta(ge=0, description="how many frames to leave out at the beginning")] = 0
    num_frames: Annotated[int, Meta(ge=0, description="how many frames to give, loops included; 0 for all")] = 0
    loop: Annotated[bool, Meta(description="begin again at the end; pts_ns runs on")] = False
    realtime: Annotated[bool, Meta(description="give each frame at its time, as a camera would")] = False
    fps: Annotated[float, Meta(gt=0, description="frames a second of still pictures; a video has its own")] = 25.0
    damaged: Annotated[
        Literal["error", "warn"],
        Meta(description="what damage does, after the good frames before it: end with an error, or warn and go on"),
    ] = "error"

    def __enter__(self) -> Self:
        find(self.location)  # a missing file is told when the line opens
        return self

    @property
    def live(self) -> bool:
        return self.realtime

    @property
    def nominal_fps(self) -> float | None:
        try:
            return self._media().fps
        except SourceError:
            return None

    @property
    def length(self) -> int | None:
        if self.loop:
            return self.num_frames or None
        try:
            total = self._media().length
        except SourceError:
            return None
        left = None if total is None else max(0, total - self.start)
        return left if left is None or not self.num_frames else min(left, self.num_frames)

    def frames(self) -> Iterator[Frame | None]:
        shots = islice(self._shots(), self.num_frames or None)
        for numbered in self._at_their_time(shots) if self.realtime else enumerate(shots):
            yield None if numbered is None else self._frame(*numbered)

    def _media(self) -> Media:
        return Media(find(self.location), self.fps, self.damaged, self.context.now_ns)

    def _frame(self, seq: int, shot: Shot) -> Frame:
        return frame_of(shot, self.camera or label(self), seq, self.context)

    def _shots(self) -> Iterator[Shot]:
        """The media once, or again and again."""
        end_ns = 0
        for turn in count() if self.loop else range(1):
            shots = islice(self._media().shots(), self.start, None)
            first = next(shots, None)
            if first is None:
                raise SourceError(f"{self.location!r} has no frame left after start={self.start}; give a smaller start")
            offset_ns = end_ns - first.begin_ns if turn else 0
            for shot in chain([first], shots):
                moved = shot.later(offset_ns)
                end_ns = moved.end_ns
                yield moved

    def _at_their_time(self, shots: Iterator[Shot]) -> Iterator[tuple[int, Shot] | None]:
        """Wait for each shot's time; skip what is past when it comes, and what an earlier life of this stage gave."""
        origin_ns = None
        for seq, shot in islice(enumerate(lasting(shots)), self._given + 1, None):
            now_ns = time.monotonic_ns()
            origin_ns = now_ns - shot.begin_ns if origin_ns is None else origin_ns
            if now_ns < origin_ns + shot.end_ns:
                yield from _waiting(origin_ns + shot.begin_ns)
                self.context.memory["seq"] = seq
                yield seq, replace(shot, captured_ns=self.context.now_ns())

    @property
    def _given(self) -> int:
        return self.context.memory.get("seq", -1) if self.context.incarnation else -1


def _waiting(until_ns: int) -> Iterator[None]:
    """Sleep until a moment of the monotonic clock; a word in between when that is long."""
    while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
        time.sleep(min(left_s, _NAP_S))
        if left_s > _NAP_S:
            yield None
