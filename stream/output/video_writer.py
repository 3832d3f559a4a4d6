"""Writing of pictures to a video, by its extension, or to a folder of PNGs; videos keep the source's times."""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.codec
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from engines.formats.output_files import Opener, open_alone, open_temporary
from stream.errors import PropertyError, TransportError
from stream.output.locations import REMOVED, check_present, check_target, make_folder, make_folder_of, write_error
from stream.output.pictures import encode

Picture = NDArray[np.uint8]

_log = logging.getLogger(__name__)

CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("libx264", "libopenh264", "mpeg4"),
    ".mov": ("libx264", "libopenh264", "mpeg4"),
    ".mkv": ("libx264", "libopenh264", "mpeg4"),
    ".webm": ("libvpx",),
    ".avi": ("mjpeg",),
}
"""Codecs per extension; the first one in this build of FFmpeg is used."""

_PIXELS = {"mjpeg": "yuvj420p"}
_OPTIONS = {
    # No B-frames and a key frame every two seconds, so that a truncated file loses at most two seconds.
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "5", "crf": "12", "b": "6M"},
    "mjpeg": {"qmin": "5", "qmax": "5"},
}
# After a kill, the file can be played up to about its last key frame.
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_MUXER = {suffix: {"flush_packets": "1"} | (_FRAGMENTS if suffix in (".mp4", ".mov") else {}) for suffix in CODECS}
_CONSTANT_RATE = (".avi",)
_TICKS_PER_SECOND = 90_000
_DEFAULT_FPS = 30.0
_KEY_FRAME_S = 2
_MAX_PAUSE_NS = 600 * 10**9
_MAX_PAUSE_FRAMES = 50_000
"""AVI skips 60,000 frames at most, and MP4 durations have 32 bits; FFmpeg writes wrong times beyond that (measured)."""


class PictureFile(Protocol):
    """Writes the pictures of one camera, in order."""

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:
        """Write one picture; ``pts_ns`` must increase."""

    def close(self) -> None:
        """Complete the file; idempotent."""


def open_pictures(path: Path, owner: str = "overlaysink", opener: Opener = open_alone) -> PictureFile:
    """Open a video by ``opener`` if the path has the extension of one, else a folder.

    Raises :class:`PropertyError` for an unknown extension, :class:`TransportError` if the path cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in CODECS:
        return VideoFile(path, owner, opener)
    if suffix:
        known = ", ".join(CODECS)
        raise PropertyError(f"{owner}: location={path} ends in {suffix!r}; write a video ({known}) or give a folder")
    return PictureFolder(path, owner)


class PictureFolder:
    """One ``<seq>.png`` per frame, so that a frame written twice exists once."""

    def __init__(self, path: Path, owner: str = "overlaysink") -> None:
        self._path, self._who = path, owner
        make_folder(path, owner)

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:  # noqa: ARG002 - a picture has no time
        """Write ``picture`` under a temporary name, then rename it."""
        file = self._path / f"{seq:06d}.png"
        part = file.with_suffix(".part")
        content = encode(picture, f"{self._who}: {file}", suffix=".png", remedy="scale the frames down")
        try:
            with open(part, "wb", opener=open_temporary) as temporary:
                temporary.write(content)
            part.replace(file)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise write_error(self._who, file, error) from None

    def close(self) -> None:
        """Do nothing: no file is open."""


class VideoFile:
    """A video that shows pictures at their ``pts_ns``, relative to the first; pictures of other sizes are fit.

    A pause of more than ten minutes, as of a camera that was away, is left out: formats cannot hold every one.
    AVI has a constant frame rate: a picture is placed at the frame nearest to its time.
    """

    def __init__(self, path: Path, owner: str = "overlaysink", opener: Opener = open_alone) -> None:
        self._path, self._who = path, owner
        self._first: tuple[Picture, int] | None = None
        self._encoder: _Encoder | None = None
        self._error: PropertyError | TransportError | None = None
        self._last_ns = self._left_out_ns = self._frame_ns = 0
        self._is_closed = False
        make_folder_of(path, owner)
        check_target(path, owner)
        try:
            self._lock = io.FileIO(path, "ab", opener=opener)  # held while FFmpeg writes by a handle of its own
        except OSError as error:
            raise write_error(owner, path, error) from None

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:  # noqa: ARG002 - pictures are placed by time
        """Encode ``picture``. The first waits for the second, whose distance gives the frame rate."""
        if self._first is None:
            self._first = picture, pts_ns
            return
        with self._writing():
            if self._encoder is None:
                distance_ns = pts_ns - self._first[1]
                self._start(1e9 / max(distance_ns, 1) if distance_ns <= _MAX_PAUSE_NS else _DEFAULT_FPS)
            self._encode(picture, pts_ns)

    def close(self) -> None:
        """Write the pending picture and the end of the file; remove a file without pictures. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._lock, self._writing():
            if self._first is None:
                self._path.unlink()
            elif self._encoder is None:
                self._start(_DEFAULT_FPS)
            if self._encoder is not None:
                self._encoder.close()
                check_present(self._lock, self._path, self._who)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise the first error again after it: FFmpeg may crash when it goes on after a failed write."""
        if self._error is not None:
            raise self._error
        try:
            with _write_errors(self._who, self._path):
                yield
        except (PropertyError, TransportError) as error:
            self._error = error
            if self._encoder is not None:
                self._encoder.abandon()
            raise

    def _start(self, fps: float) -> None:
        """Open the encoder and encode the first picture."""
        assert self._first is not None
        picture, pts_ns = self._first
        self._frame_ns = round(1e9 / fps)
        size = _round_to_even(picture.shape[1], picture.shape[0])
        encoder = _Encoder(self._path, self._lock, size, fps)
        try:
            encoder.open()
        except av.error.FFmpegError as error:
            encoder.abandon()
            self._path.unlink(missing_ok=True)
            raise PropertyError(
                f"{self._who}: {self._path} would be {size[0]:,} x {size[1]:,} px, which its encoder {encoder.codec} "
                f"does not take ({error.strerror}); scale the frames down, or leave the video out"
            ) from None
        self._encoder = encoder
        self._encode(picture, pts_ns)

    def _encode(self, picture: Picture, pts_ns: int) -> None:
        assert self._first is not None
        assert self._encoder is not None
        at_ns = pts_ns - self._first[1] - self._left_out_ns
        pause_ns = at_ns - self._last_ns
        if pause_ns > min(_MAX_PAUSE_NS, _MAX_PAUSE_FRAMES * self._frame_ns):
            _log.warning("%s: a pause of %.0f s is left out", self._path, pause_ns / 1e9)
            self._left_out_ns += pause_ns - self._frame_ns
            at_ns = self._last_ns + self._frame_ns
        self._last_ns = at_ns
        self._encoder.encode(picture, at_ns)


class _File(io.FileIO):
    """A file that FFmpeg writes through: opened by FFmpeg itself, an MP4 whose last part finds no room is closed as if
    nothing had happened."""

    def write(self, data: Any) -> int:
        """Write all of ``data``, where the system may take only a part at once."""
        view = memoryview(data)
        while view:
            view = view[super().write(view) :]
        return len(data)


def _open_same(name: str, flags: int, lock: io.FileIO) -> int:
    """Open the file that is locked already, and no other that has its name meanwhile."""
    handle = os.open(name, flags & ~(os.O_TRUNC | os.O_CREAT))
    if not os.path.sameopenfile(handle, lock.fileno()):
        os.close(handle)
        raise OSError(errno.ENOENT, REMOVED)
    os.ftruncate(handle, 0)
    return handle


class _Encoder:
    """An open video file of one size."""

    def __init__(self, path: Path, lock: io.FileIO, size: tuple[int, int], fps: float) -> None:
        suffix = path.suffix.lower()
        self.codec = codec = _find_codec(CODECS[suffix])
        rate = Fraction(fps).limit_denominator(1001)
        self._size = size
        self._tick_s = 1 / rate if suffix in _CONSTANT_RATE else Fraction(1, _TICKS_PER_SECOND)
        self._last_tick = -1
        self._file = _File(path, "wb", opener=lambda name, flags: _open_same(name, flags, lock))
        self._container: OutputContainer | None = av.open(self._file, "w", options=_MUXER[suffix])
        stream = self._container.add_stream(codec, rate=rate, options=_OPTIONS.get(codec, {}))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
        self._stream.gop_size = max(1, round(fps * _KEY_FRAME_S))
        self._stream.codec_context.time_base = self._tick_s

    def open(self) -> None:
        """Open the encoder. Raises ``FFmpegError`` where it does not take pictures of this size."""
        self._stream.codec_context.open()

    def encode(self, picture: Picture, at_ns: int) -> None:
        """Encode ``picture``, shown from ``at_ns`` on."""
        assert self._container is not None
        frame = av.VideoFrame.from_ndarray(fit(picture, self._size), format="bgr24")
        self._last_tick = max(self._last_tick + 1, round(Fraction(at_ns, 10**9) / self._tick_s))
        frame.pts, frame.time_base = self._last_tick, self._tick_s
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the end of the file; idempotent."""
        container, self._container = self._container, None
        if container is not None:
            with self._file:
                container.mux(self._stream.encode(None))
                container.close()

    def abandon(self) -> None:
        """Close the file after a failed write, without its end."""
        self._container = None
        self._file.close()


def fit(picture: Picture, size: tuple[int, int]) -> Picture:
    """Fit ``picture`` into ``size`` (width, height), centred and with black borders."""
    width, height = size
    if picture.shape[1] - width in (0, 1) and picture.shape[0] - height in (0, 1):
        return np.ascontiguousarray(picture[:height, :width])
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    whole = np.zeros((height, width, 3), np.uint8)
    whole[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return whole


def _round_to_even(width: int, height: int) -> tuple[int, int]:
    """Round the size down to even numbers, which 4:2:0 video requires."""
    return max(2, width // 2 * 2), max(2, height // 2 * 2)


def _find_codec(names: tuple[str, ...]) -> str:
    for name in names:
        with suppress(ValueError, av.error.FFmpegError):
            av.codec.Codec(name, "w")
            return name
    raise PropertyError(f"overlaysink: this build of FFmpeg has none of {', '.join(names)}; write .avi, or a folder")


@contextmanager
def _write_errors(owner: str, path: Path) -> Iterator[None]:
    """Raise errors of FFmpeg and the system as one line."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(owner, path, OSError(error.errno, error.strerror or str(error))) from None
