"""A sequence of files, read as one sequence of shots."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stream.capture.decoded_picture import Shot
from stream.capture.files import printable
from stream.capture.numbering import count_missing
from stream.capture.picture_file import nominal_fps, read_pictures
from stream.capture.picture_suffixes import is_picture
from stream.capture.stills import count_pictures
from stream.capture.timeline import bridge_jumps
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
        first = self.paths[0]
        return nominal_fps(first, self.still_fps) if is_picture(first) else header_fps(first)

    @property
    def length(self) -> int | None:
        """How many pictures the files hold by their headers; None where one does not say."""
        lengths = [count_pictures(path) if is_picture(path) else header_length(path) for path in self.paths]
        return None if None in lengths else sum(length or 0 for length in lengths)

    def shots(self) -> Iterator[Shot]:
        """Yield every picture of every file once; ``pts_ns`` increases strictly, across files too.

        Numbers that the names of pictures leave out are ``missing`` before the next one, and so are damaged pictures
        that are left out; each takes the time of one picture.
        """
        start_ns = lost = 0
        for path, skipped in zip(self.paths, count_missing(self.paths), strict=True):
            missing = skipped + lost
            start_ns += missing * self._still_ns
            end_ns, lost = start_ns, 1
            for shot in self._read(path):
                shifted = replace(shot.shift(start_ns), file=printable(path), missing=missing)
                end_ns, missing, lost = shifted.end_ns, 0, 0
                yield shifted
            start_ns = end_ns

    @property
    def _still_ns(self) -> int:
        return round(1e9 / self.still_fps)

    def _read(self, path: Path) -> Iterator[Shot]:
        if is_picture(path):
            yield from self._read_picture(path)
        else:
            with VideoFile(path, self.damaged, self.now_ns) as video:
                yield from bridge_jumps(video.shots(), video.max_gap_ns, repr(str(path)))

    def _read_picture(self, path: Path) -> Iterator[Shot]:
        shots = read_pictures(path, self._still_ns, self.damaged, self.now_ns)
        try:
            yield from bridge_jumps(shots, _NO_GAP_NS, repr(str(path)))
        except SourceError as error:
            if self.damaged == "error" or len(self.paths) == 1:
                raise
            _log.warning("%s; left out", error)


_NO_GAP_NS = 2**63
"""Animations have durations, which are obeyed however long they are."""


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
