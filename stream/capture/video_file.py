"""A video file or GIF, read with PyAV: exact times, upright pictures, and detection of damage.

A file is *damaged* if a packet cannot be decoded, if the decoder marks a picture as corrupt, or if the file ends
before its header says. The pictures after the damage depend on the missing ones: they decode without an error and show
green blocks (seen on a real clip), so by default reading stops there; ``damaged="warn"`` continues.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from stream import wording
from stream.capture import video_header
from stream.capture.avi_index import AviIndex
from stream.capture.decoded_picture import Shot, VideoPicture
from stream.capture.deinterlacing import Deinterlacer
from stream.capture.flv_tags import FlvWalk
from stream.capture.frame_gaps import FrameGaps
from stream.capture.gif_blocks import GifWalk
from stream.capture.matroska import MatroskaWalk
from stream.capture.mp4_fragments import FragmentWalk
from stream.capture.picture_suffixes import find_format
from stream.capture.regular_file import check_readable
from stream.capture.structure_walk import StructureWalk
from stream.capture.transport_packets import count_odd_bytes
from stream.errors import SourceError

Damaged = Literal["error", "warn"]

_log = logging.getLogger(__name__)


class VideoFile:
    """An open video; a context manager. Raises :class:`SourceError` if the file is not a readable video.

    ``header_frames`` is the number of frames in the header, or 0 if it has none; ``fps`` its mean rate or None.
    ``max_gap_ns`` is the longest time for which its format can hold a frame.
    """

    def __init__(self, path: Path, damaged: Damaged = "error", now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path, self._damaged, self._now_ns = path, damaged, now_ns
        self._container = _open(path)
        self._stream = _video_stream(self._container, path)
        self._file = path.open("rb", buffering=0)
        self._bytes = os.fstat(self._file.fileno()).st_size
        self.fps = float(self._stream.average_rate) if self._stream.average_rate else None
        self.header_frames = video_header.count_frames(self._container, self._stream)
        self.max_gap_ns = video_header.max_gap_ns(self._container)
        self.delivered = 0
        self._packets = self._decoded = self._damages = self._marked = 0
        self._walk, self._has_hole = self._open_walk(), False
        self._gaps = FrameGaps(self._container.format.name, self.max_gap_ns)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._file.close()
        if self._walk is not None:
            self._walk.close()

    def shots(self) -> Iterator[Shot]:
        """Yield every frame in display order. At damage it raises :class:`SourceError`, or warns and continues."""
        end_ns = 0
        for shot in self._decode():
            end_ns = max(end_ns, (shot.pts_ns or 0) + shot.duration_ns)
            self.delivered += 1
            self._gaps.add(shot.pts_ns)
            yield shot
        if self.delivered == 0:
            raise SourceError(f"{self._name} has a video stream, but none of its frames can be decoded; {_COPY_AGAIN}")
        self._check_end(end_ns)
        if not self._damages and (doubts := self._list_doubts(end_ns)):
            _log.warning("%s: %s, so frames may be missing; %s read", self._name, ", and ".join(doubts), self._progress)
        if self._damages > 1:
            _log.warning("%s is damaged in %d places; %s read", self._name, self._damages, self._progress)

    def _decode(self) -> Iterator[Shot]:
        from av.video.reformatter import VideoReformatter

        reformatter, aspect = VideoReformatter(), video_header.pixel_aspect(self._container, self._stream)
        for frame, captured_ns in self._whole_frames():
            yield Shot(VideoPicture(frame, reformatter, aspect), *self._times(frame), captured_ns)

    def _open_walk(self) -> StructureWalk | AviIndex | None:
        """What finds damage that FFmpeg passes over; None for the formats in which it reports all."""
        name = self._container.format.name
        if "matroska" in name:
            return MatroskaWalk(self._path)
        if name == "flv":
            return FlvWalk(self._path)
        if name == "gif":
            return GifWalk(self._path)
        if "mp4" in name:
            return FragmentWalk(self._path)
        return AviIndex(self._path, self._stream) if name == "avi" else None

    def _whole_frames(self) -> Iterator[tuple[Any, int]]:
        """Yield the intact frames, deinterlaced."""
        deinterlacer = Deinterlacer(self._stream, self._name)
        try:
            for frame, captured_ns in self._frames():
                if frame.is_corrupt:
                    self._report_damage("a frame is marked corrupt")
                else:
                    yield from deinterlacer.process(frame, captured_ns)
        except SourceError:
            yield from deinterlacer.flush()
            raise
        yield from deinterlacer.flush()

    def _frames(self) -> Iterator[tuple[Any, int]]:
        """Yield decoded frames, each with the time at which its packet was read."""
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                captured_ns = self._now_ns()
                self._packets += packet.dts is not None
                self._marked += packet.is_corrupt
                self._follow(packet.pos)
                # An empty packet in the middle repeats the picture (AVI); decoding it would end the decoder.
                frames = packet.decode() if packet.size or packet.dts is None else []
            except (StopIteration, EndOfFile):
                return
            except FFmpegError as error:
                self._report_damage(error.strerror or type(error).__name__)
                continue
            self._decoded += len(frames)
            yield from ((frame, captured_ns) for frame in frames)

    def _times(self, frame: Any) -> tuple[int | None, int]:
        base = frame.time_base or self._stream.time_base
        start_s = (self._stream.start_time or 0) * self._stream.time_base
        pts_ns = None if frame.pts is None else _ns(frame.pts * base - start_s)
        return pts_ns, _ns(frame.duration * base) or self._frame_ns

    @property
    def _frame_ns(self) -> int:
        return round(1e9 / (self.fps or 25))

    @property
    def _name(self) -> str:
        return repr(str(self._path))

    def _report_damage(self, why: str) -> None:
        """Raise or warn. A damaged start is only skipped: a recording cut out of a stream starts like that."""
        text = f"{self._name} is damaged after {self._progress}: {self._describe_shortening() or why}"
        if self._damaged == "error" and self.delivered:
            raise SourceError(f"{text}; {_COPY_AGAIN}, or read past the damage with damaged=warn")
        self._damages += 1
        if self._damages == 1:
            _log.warning("%s; continuing", text)

    def _describe_shortening(self) -> str:
        """How the file became shorter since it was opened, which FFmpeg may take for its end; empty if it did not."""
        size = os.fstat(self._file.fileno()).st_size
        return f"it was cut from {self._bytes:,} to {size:,} bytes while it was read" if size < self._bytes else ""

    def _check_end(self, end_ns: int) -> None:
        header = self._container, self._stream
        if shortening := self._describe_shortening():
            self._report_damage(shortening)
        elif video_header.is_cut(self._path, *header, self._packets, end_ns, self._frame_ns):
            self._report_damage(f"it ends after {end_ns / 1e9:.2f} s")
        elif self._walk is not None:
            self._follow(None)

    def _list_doubts(self, end_ns: int) -> list[str]:
        """What is no error, since sound files have it too: those that were joined, and those whose camera left frames
        out."""
        missing = self._gaps.count_missing()
        header_s = video_header.stated_seconds(self._container)
        is_short = header_s * 1e9 - end_ns > 1.5 * self._frame_ns
        # Two packets may hold one frame, a field each; in AV1, a packet is a frame.
        is_single = self._stream.codec_context.name in _SINGLE_FRAMES
        is_undecoded = self._decoded < (self._packets if is_single else self._packets // 2)
        skipped = self._walk.missing if isinstance(self._walk, StructureWalk) else 0
        odd = count_odd_bytes(self._path) if self._container.format.name == "mpegts" else 0
        return [
            *([f"packets are marked corrupt ({self._marked})"] if self._marked else []),
            *([f"its times have gaps for {wording.count(missing, 'frame')}"] if missing else []),
            *([f"{self._packets} packets gave {self._decoded} frames"] if is_undecoded else []),
            *([f"the numbers of its fragments leave out {skipped}"] if skipped else []),
            *([f"it ends with a part of a packet ({odd} bytes)"] if odd else []),
            *([f"it lasts {header_s:.2f} s by its header, and its frames {end_ns / 1e9:.2f} s"] if is_short else []),
        ]

    def _follow(self, until: int | None) -> None:
        """Report damage to the structure of the file before the packet at the byte ``until``, once."""
        if self._walk is not None and not self._has_hole and not self._walk.is_sound(until):
            self._has_hole = True
            self._report_damage("a part of it is overwritten or missing")

    @property
    def _progress(self) -> str:
        of = f" of the {self.header_frames} in its header" if self.header_frames else ""
        return f"{self.delivered} frames{of}"


_SINGLE_FRAMES = ("libdav1d", "libaom-av1", "av1")
"""The decoders of AV1, of which a file holds one frame to be shown a packet (AV1 in ISOBMFF, 2.4)."""

_COPY_AGAIN = "copy or download it again"


def header_fps(path: Path) -> float | None:
    """Read the mean frame rate from the header of a video; None if there is none."""
    try:
        with VideoFile(path) as video:
            return video.fps
    except SourceError:
        return None


def header_length(path: Path) -> int | None:
    """The number of frames in the header of a video; None where there is none to be had."""
    try:
        with VideoFile(path) as video:
            return video.header_frames or None
    except SourceError:
        return None


def _open(path: Path) -> Any:
    check_readable(path)
    import av

    # FFmpeg would take 12:30.mp4 for an address, and x%d.gif for a pattern of still pictures.
    form = _FORMATS.get(find_format(path)) if "%" in path.name else None
    try:
        # Titles are in any encoding, and PyAV takes it for UTF-8.
        return av.open(f"file:{path}", format=form, metadata_errors="replace")
    except av.FFmpegError as error:
        raise SourceError(f"{str(path)!r} is not a video: {_why_unreadable(path, error)}") from error


_FORMATS = {".avif": "mov", ".gif": "gif", ".heic": "mov", ".png": "apng"}
"""FFmpeg's names for formats of pictures that it reads here."""


def _why_unreadable(path: Path, error: Any) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return f"it is an MP4 or MOV without an index (moov): its recording or copy is incomplete; {_COPY_AGAIN}"
    return f"FFmpeg does not recognise its format ({error.strerror}); check what the file is"


def _video_stream(container: Any, path: Path) -> Any:
    stream = container.streams.best("video")
    is_cover = stream is not None and "attached_pic" in str(stream.disposition)
    if stream is None or is_cover:
        kinds = ", ".join(sorted({other.type for other in container.streams if other is not stream})) or "nothing"
        container.close()
        raise SourceError(f"{str(path)!r} contains no video, only {kinds}; give a video file")
    if stream.codec_context is None:
        container.close()
        raise SourceError(f"{str(path)!r} has a codec that this FFmpeg cannot decode; convert it to H.264")
    # Slices only: with frame threads the decoder's error is lost (measured on a clip cut in half).
    stream.thread_type = "SLICE"
    return stream


def _ns(seconds: Fraction) -> int:
    return round(seconds * 1_000_000_000)
