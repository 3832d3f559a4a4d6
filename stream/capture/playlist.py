"""Several files as one sequence of shots."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stream.capture.decoded_picture import ArrayPicture, Shot
from stream.capture.stills import is_still, read_still
from stream.capture.video_file import Damaged, VideoFile, header_fps, header_length
from stream.errors import SourceError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Media:
    """The files of a location, to be read one after the other.

    ``still_fps`` is the rate at which still pictures are shown; ``damaged`` what to do about files that are.
    """

    paths: tuple[Path, ...]
    still_fps: float
    damaged: Damaged
    now_ns: Callable[[], int] = time.time_ns

    @property
    def fps(self) -> float | None:
        """The nominal rate of the first file."""
        return self.still_fps if is_still(self.paths[0]) else header_fps(self.paths[0])

    @property
    def length(self) -> int | None:
        """How many pictures the files hold by their headers; None where one does not say."""
        lengths = [1 if is_still(path) else header_length(path) for path in self.paths]
        return None if None in lengths else sum(length or 0 for length in lengths)

    def shots(self) -> Iterator[Shot]:
        """Every picture of every file once; ``pts_ns`` runs on from file to file and never stands still."""
        start_ns = 0
        for path in self.paths:
            end_ns = start_ns
            for shot in _running(self._shots_of(path)):
                moved = shot.later(start_ns)
                end_ns = moved.end_ns
                yield moved
            start_ns = end_ns

    def _shots_of(self, path: Path) -> Iterator[Shot]:
        if is_still(path):
            yield from self._still(path)
        else:
            with VideoFile(path, self.damaged, self.now_ns) as video:
                yield from video.shots()

    def _still(self, path: Path) -> Iterator[Shot]:
        duration_ns = round(1e9 / self.still_fps)
        captured_ns = self.now_ns()
        try:
            picture = ArrayPicture(read_still(path))
        except SourceError as error:
            if self.damaged == "error" or len(self.paths) == 1:
                raise
            _log.warning("%s; left out", error)
        else:
            yield Shot(picture, 0, duration_ns, captured_ns)


def _running(shots: Iterator[Shot]) -> Iterator[Shot]:
    """The same shots; one without a time, or with one not after the one before, comes a frame after that."""
    due_ns, last_ns = 0, -1
    for shot in shots:
        pts_ns = due_ns if shot.pts_ns is None or shot.pts_ns <= last_ns else shot.pts_ns
        due_ns, last_ns = pts_ns + shot.duration_ns, pts_ns
        yield replace(shot, pts_ns=pts_ns)


def lasting(shots: Iterator[Shot]) -> Iterator[Shot]:
    """The same shots, each lasting until the next begins; it is held back until that is known.

    What a container says of a frame's duration is of no use here: MP4 keeps durations in the order of decoding.
    """
    held: Shot | None = None
    try:
        for shot in shots:
            if held is not None:
                yield replace(held, duration_ns=shot.begin_ns - held.begin_ns)
            held = shot
    except SourceError:
        yield from [held] if held is not None else []
        raise
    yield from [held] if held is not None else []
