"""A video file or GIF, read with PyAV: true times, the way up, and an honest account of what is damaged.

A file is *damaged* when a packet cannot be decoded, when the decoder marks a picture as corrupt, or when the file ends
before its header says. The pictures after the damage are built on what is missing: they decode without a word and show
green blocks (seen on a real clip), so by default reading stops there; ``damaged="warn"`` goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from stream.capture.decoded_picture import Shot, VideoPicture
from stream.capture.stills import check_readable
from stream.errors import SourceError

Damaged = Literal["error", "warn"]

_log = logging.getLogger(__name__)


class VideoFile:
    """An open video; a context manager. Raises :class:`SourceError` when there is none to be opened.

    ``promised`` is the number of frames the header speaks of, 0 where it does not; ``fps`` its mean rate or None.
    """

    def __init__(self, path: Path, damaged: Damaged = "error", now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path, self._damaged, self._now_ns = path, damaged, now_ns
        self._container = _open(path)
        self._stream = _video_stream(self._container, path)
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self.promised = _promised_frames(self._container, self._stream)
        self.delivered = 0
        self._packets = self._damages = 0

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def shots(self) -> Iterator[Shot]:
        """Every frame in the order of showing. Raises :class:`SourceError` at the damage, or warns and goes on."""
        end_ns = 0
        for shot in self._decoded():
            end_ns = max(end_ns, (shot.pts_ns or 0) + shot.duration_ns)
            self.delivered += 1
            yield shot
        if self.delivered == 0:
            raise SourceError(f"{self._name} has a video stream, but not one frame of it can be decoded; {_COPY_AGAIN}")
        self._check_end(end_ns)
        if self._damages > 1:
            _log.warning("%s was damaged in %d places; %s read", self._name, self._damages, self._progress)

    def _decoded(self) -> Iterator[Shot]:
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()
        for frame, captured_ns in self._frames():
            if frame.is_corrupt:
                self._damage("a frame is marked corrupt")
            else:
                yield Shot(VideoPicture(frame, reformatter), *self._times(frame), captured_ns)

    def _frames(self) -> Iterator[tuple[Any, int]]:
        """Decoded frames, each with the time at which its packet was there."""
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                captured_ns = self._now_ns()
                self._packets += packet.dts is not None
                # An empty packet in the middle says "the same picture again" (AVI); decoding it would end the decoder.
                frames = packet.decode() if packet.size or packet.dts is None else []
            except (StopIteration, EndOfFile):
                return
            except FFmpegError as error:
                self._damage(error.strerror or type(error).__name__)
                continue
            yield from ((frame, captured_ns) for frame in frames)

    def _times(self, frame: Any) -> tuple[int | None, int]:
        base = frame.time_base or self._stream.time_base
        start = self._stream.start_time or 0
        pts_ns = None if frame.pts is None else _ns((frame.pts - start) * base)
        return pts_ns, _ns(frame.duration * base) or self._frame_ns

    @property
    def _frame_ns(self) -> int:
        return round(1e9 / (self.fps or 25))

    @property
    def _name(self) -> str:
        return repr(str(self._path))

    def _damage(self, why: str) -> None:
        """Say so; a damaged beginning is only skipped, since a recording cut out of a stream begins like that."""
        text = f"{self._name} is damaged after {self._progress}: {why}"
        if self._damaged == "error" and self.delivered:
            raise SourceError(f"{text}; {_COPY_AGAIN}, or read past the damage with damaged=warn")
        self._damages += 1
        if self._damages == 1:
            _log.warning("%s; going on", text)

    def _check_end(self, end_ns: int) -> None:
        if self._is_short(end_ns):
            self._damage(f"it ends after {end_ns / 1e9:.2f} s")
        elif self._container.format.name == "gif" and not _ends_with(self._path, b";"):
            self._damage("its end is missing (a GIF ends with ';')")

    def _is_short(self, end_ns: int) -> bool:
        """The header promises more, both in frames (where it counts them) and in seconds (where it tells them).

        An edit list may rightly show fewer frames than are stored, and a frame's duration may be told wrongly.
        """
        seconds = _promised_seconds(self._container, self._stream)
        lacks_frames = self._packets < (self._stream.frames or self.promised)
        # The header of a whole file rounds its duration by up to one frame; that of an AVI may count empty ones.
        tolerance_ns = max(1.5 * self._frame_ns, 50_000_000)
        return lacks_frames and (seconds is None or seconds * 1e9 - end_ns > tolerance_ns)

    @property
    def _progress(self) -> str:
        of = f" of the {self.promised} its header promises" if self.promised else ""
        return f"{self.delivered} frames{of}"


_COPY_AGAIN = "copy or download it again"


def header_fps(path: Path) -> float | None:
    """The mean frame rate in the header of a video; None where there is none to be had."""
    try:
        with VideoFile(path) as video:
            return video.fps
    except SourceError:
        return None


def header_length(path: Path) -> int | None:
    """The number of frames in the header of a video; None where there is none to be had."""
    try:
        with VideoFile(path) as video:
            return video.promised or None
    except SourceError:
        return None


def _open(path: Path) -> Any:
    check_readable(path)
    import av

    try:
        return av.open(str(path))
    except av.FFmpegError as error:
        raise SourceError(f"{str(path)!r} is not a video: {_why_unreadable(path, error)}") from error


def _why_unreadable(path: Path, error: Any) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return f"it is an MP4 or MOV without an index (moov), so its recording or copying was cut off; {_COPY_AGAIN}"
    return f"FFmpeg finds nothing it knows in it ({error.strerror}); check what the file is"


def _video_stream(container: Any, path: Path) -> Any:
    stream = container.streams.best("video")
    is_cover = stream is not None and "attached_pic" in str(stream.disposition)
    if stream is None or is_cover:
        kinds = ", ".join(sorted({other.type for other in container.streams if other is not stream})) or "nothing"
        container.close()
        raise SourceError(f"{str(path)!r} holds no video, only {kinds}; give a file with pictures in it")
    if stream.codec_context is None:
        container.close()
        raise SourceError(f"{str(path)!r} is coded in a way that this FFmpeg cannot decode; convert it to H.264")
    # Slices only: with frame threads the decoder's error is lost on the way (measured on a clip cut in half).
    stream.thread_type = "SLICE"
    return stream


def _promised_frames(container: Any, stream: Any) -> int:
    if container.format.name == "gif":  # FFmpeg counts the pictures that are there
        return 0
    duration_s = _tagged_seconds(stream)
    return stream.frames or (round(duration_s * stream.average_rate) if duration_s and stream.average_rate else 0)


def _promised_seconds(container: Any, stream: Any) -> float | None:
    """How long the header says that the pictures last; None where it says nothing, or counts only the bytes left."""
    if "mp4" in container.format.name:
        return float(stream.duration * stream.time_base) if stream.duration else None
    if container.format.name == "avi":
        return float(stream.frames * stream.time_base) if stream.frames else None
    return _tagged_seconds(stream)


def _tagged_seconds(stream: Any) -> float | None:
    """``DURATION=00:00:10.292000000``, as Matroska writers tag a stream."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _ends_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 64), 2)
        return file.read().rstrip(b"\0").endswith(mark)


def _ns(seconds: Fraction) -> int:
    return round(seconds * 1_000_000_000)
