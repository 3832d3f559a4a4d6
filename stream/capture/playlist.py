"""A sequence of files, read as one sequence of shots."""

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
class Playlist:
    """The files of a location, read one after the other.

    ``still_fps`` is the rate at which still pictures are shown; ``damaged`` says what to do with a damaged file.
    """

    paths: tuple[Path, ...]
    still_fps: float
    damaged: Damaged
    now_ns: Callable[[], int] = time.time_ns

    @property
    def fps(self) -> float | None:
        """The nominal frame rate of the first file."""
        return self.still_fps if is_still(self.paths[0]) else header_fps(self.paths[0])

    @property
    def length(self) -> int | None:
        """How many pictures the files hold by their headers; None where one does not say."""
        lengths = [1 if is_still(path) else header_length(path) for path in self.paths]
        return None if None in lengths else sum(length or 0 for length in lengths)

    def shots(self) -> Iterator[Shot]:
        """Yield every picture of every file once; ``pts_ns`` increases strictly, across files too."""
        start_ns = 0
        for path in self.paths:
            end_ns = start_ns
            for shot in _increase_times(self._read(path)):
                shifted = shot.shift(start_ns)
                end_ns = shifted.end_ns
                yield shifted
            start_ns = end_ns

    def _read(self, path: Path) -> Iterator[Shot]:
        if is_still(path):
            yield from self._read_still(path)
        else:
            with VideoFile(path, self.damaged, self.now_ns) as video:
                yield from video.shots()

    def _read_still(self, path: Path) -> Iterator[Shot]:
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


def _increase_times(shots: Iterator[Shot]) -> Iterator[Shot]:
    """Yield the same shots with increasing times: a missing or non-increasing time becomes the end of the last shot."""
    due_ns, last_ns = 0, -1
    for shot in shots:
        pts_ns = due_ns if shot.pts_ns is None or shot.pts_ns <= last_ns else shot.pts_ns
        due_ns, last_ns = pts_ns + shot.duration_ns, pts_ns
        yield replace(shot, pts_ns=pts_ns)


def extend_to_next(shots: Iterator[Shot]) -> Iterator[Shot]:
    """Yield the same shots, each lasting until the next begins; a shot is delayed until the next is there.

    The durations of the container cannot be used for this: MP4 stores them in decoding order.
    """
    last: Shot | None = None
    try:
        for shot in shots:
            if last is not None:
                yield replace(last, duration_ns=shot.begin_ns - last.begin_ns)
            last = shot
    except SourceError:
        yield from [last] if last is not None else []
        raise
    yield from [last] if last is not None else []
