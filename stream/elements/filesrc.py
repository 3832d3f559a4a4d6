"""``filesrc``: frames from a video, a GIF, a picture, a folder of pictures or a pattern."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Annotated, Literal, Self

from msgspec import Meta

from stream.caps import Caps
from stream.capture import files
from stream.capture.decoded_picture import Shot
from stream.capture.file_changes import check_unchanged
from stream.capture.frame_conversion import make_frame
from stream.capture.pacing import last_seq, sleep_until
from stream.capture.playlist import Playlist, extend_to_next
from stream.element import Source
from stream.errors import SourceError, StartError
from stream.messages import Frame
from stream.registry import label


@dataclass
class Filesrc(Source):
    """Frames of a file, in display order; ``pts_ns`` is each frame's own time, also with a variable frame rate.

    Pictures are upright (display matrix, EXIF), deinterlaced, with square pixels, (H, W, 3) uint8 BGR; the size may
    change within a file or folder. Numbers that the names of a folder's pictures leave out are gaps in ``seq``. A
    file waits for the line, so nothing is dropped. With ``realtime`` it behaves as a camera: frames are delivered at
    their time whether or not the line is ready, and late ones are skipped.

    Raises :class:`SourceError` if a file is missing, empty, not a video or damaged. The frames before the damage are
    delivered first, since they are intact (``docs/how-to/sources.md``).
    """

    src = Caps("video/raw")
    has_truth = False

    location: Annotated[
        str, Meta(description="a video, GIF or picture, a folder of pictures, or a pattern such as 'shots/*.png'")
    ]
    camera: Annotated[str, Meta(description="camera name in the frames; empty for the element's own name")] = ""
    start: Annotated[int, Meta(ge=0, description="frames to skip at the beginning")] = 0
    num_frames: Annotated[int, Meta(ge=0, description="frames to deliver, loops included; 0 for all")] = 0
    loop: Annotated[bool, Meta(description="start over at the end; pts_ns continues")] = False
    realtime: Annotated[bool, Meta(description="deliver each frame at its time, as a camera would")] = False
    fps: Annotated[
        float, Meta(ge=1e-5, le=1e6, description="frames per second of still pictures; a video has its own rate")
    ] = 25.0
    damaged: Annotated[
        Literal["error", "warn"],
        Meta(description="what to do at damage, after the frames before it: fail, or warn and continue"),
    ] = "error"

    def __enter__(self) -> Self:
        if not self.context.incarnation:
            files.find_files(self.location)  # report a missing file when the line opens
        return self

    def inputs(self) -> tuple[Path, ...]:
        with suppress(SourceError):
            return files.find_files(self.location)
        return ()

    @property
    def is_live(self) -> bool:
        return self.realtime

    @property
    def reads_ahead(self) -> bool:
        return not self.realtime

    @property
    def nominal_fps(self) -> float | None:
        try:
            return self._playlist().fps
        except SourceError:
            return None

    @property
    def length(self) -> int | None:
        if self.loop:
            return self.num_frames or None
        try:
            total = self._playlist().length
        except SourceError:
            return None
        left = None if total is None else max(0, total - self.start)
        return left if left is None or not self.num_frames else min(left, self.num_frames)

    def frames(self) -> Iterator[Frame | None]:
        paths, folder = self._list_files(), files.expand_home(self.location)
        if folder.is_dir() and not self.context.incarnation:
            files.report_skipped(folder, paths)
        shots = islice(self._shots(self._playlist(paths)), self.num_frames or None)
        for numbered in self._pace(shots) if self.realtime else _number(shots):
            yield None if numbered is None else self._frame(*numbered)

    def _list_files(self) -> tuple[Path, ...]:
        """The files to read, which must be those that were read before a restart."""
        try:
            paths = files.find_files(self.location)
            check_unchanged(self.location, paths, self.context)
        except SourceError as error:
            if self.realtime:  # a live source would be restarted again and again
                raise StartError(str(error)) from error
            raise
        return paths

    def _playlist(self, paths: tuple[Path, ...] | None = None) -> Playlist:
        return Playlist(paths or files.find_files(self.location), self.fps, self.damaged, self.context.now_ns)

    def _frame(self, seq: int, shot: Shot) -> Frame:
        return make_frame(shot, self.camera or label(self), seq, self.context)

    def _shots(self, playlist: Playlist) -> Iterator[Shot]:
        """Yield the shots of the files, once or in a loop, whose turns all read the files that the first did."""
        end_ns = 0
        for turn in count() if self.loop else range(1):
            shots = islice(playlist.shots(), self.start, None)
            first = next(shots, None)
            if first is None:
                raise SourceError(f"{self.location!r} has no frame left after start={self.start}; give a smaller start")
            offset_ns = end_ns - first.begin_ns if turn else 0
            for shot in chain([first], shots):
                shifted = shot.shift(offset_ns)
                end_ns = shifted.end_ns
                yield shifted

    def _pace(self, shots: Iterator[Shot]) -> Iterator[tuple[int, Shot] | None]:
        """Wait for each shot's time; skip late shots, and those already delivered before a restart.

        Where nothing but late shots come for :data:`_MAX_LATE_NS`, as where pictures are decoded more slowly than they
        follow each other, the clock starts anew at the next one, as a slow camera delivers what it can.
        """
        origin_ns, asked_ns = None, 0
        for seq, shot in _number(extend_to_next(shots)):
            if seq <= last_seq(self.context):
                continue
            now_ns = time.monotonic_ns()
            is_late = origin_ns is not None and now_ns >= origin_ns + shot.end_ns
            if origin_ns is None or (is_late and now_ns - asked_ns > _MAX_LATE_NS):
                origin_ns, is_late = now_ns - shot.begin_ns, False
            if is_late:
                yield None
                continue
            yield from sleep_until(origin_ns + shot.begin_ns)
            self.context.memory["seq"] = seq
            yield seq, replace(shot, captured_ns=self.context.now_ns())
            asked_ns = time.monotonic_ns()


_MAX_LATE_NS = 1_000_000_000


def _number(shots: Iterator[Shot]) -> Iterator[tuple[int, Shot]]:
    """Yield each shot and its ``seq``, which counts from 0 and has gaps where pictures are missing."""
    seq = -1
    for shot in shots:
        seq += 1 + (shot.missing if seq >= 0 else 0)
        yield seq, shot
