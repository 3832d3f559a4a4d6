"""Where drawn pictures go: a video file, by its extension, or a folder of PNGs. Each keeps the source's own times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.codec
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from stream.errors import PropertyError, TransportError

Picture = NDArray[np.uint8]

CODECS: dict[str, tuple[str, ...]] = {
    ".mp4": ("libx264", "libopenh264", "mpeg4"),
    ".mov": ("libx264", "libopenh264", "mpeg4"),
    ".mkv": ("libx264", "libopenh264", "mpeg4"),
    ".webm": ("libvpx",),
    ".avi": ("mjpeg",),
}
"""Codecs for each extension; the first that this build of FFmpeg has is used."""

_PIXELS = {"mjpeg": "yuvj420p"}
_OPTIONS = {
    # No B-frames and a key frame every two seconds: a file that is cut short loses no more than that.
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "5", "crf": "12", "b": "6M"},
    "mjpeg": {"qmin": "5", "qmax": "5"},
}
# What is on disk can be played up to its last key frame or so, also after a kill.
_MUXER = {"flush_packets": "1", "movflags": "frag_keyframe+empty_moov+default_base_moof"}
_CONSTANT_RATE = (".avi",)
_TICKS_A_SECOND = 90_000
_GUESS_FPS = 30.0
_KEY_FRAME_S = 2


class PictureFile(Protocol):
    """Takes one camera's pictures in order."""

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:
        """Write one; ``pts_ns`` must rise."""

    def close(self) -> None:
        """Finish the file; idempotent."""


def open_pictures(path: Path, who: str = "overlaysink") -> PictureFile:
    """A video file where the extension is that of one, else a folder. Raises :class:`PropertyError`, and
    :class:`TransportError` for what cannot be written."""
    suffix = path.suffix.lower()
    if suffix in CODECS:
        return VideoFile(path, who)
    if suffix:
        known = ", ".join(CODECS)
        raise PropertyError(f"{who}: location={path} ends in {suffix!r}; write a video ({known}) or give a folder")
    return PictureFolder(path, who)


class PictureFolder:
    """One ``<seq>.png`` a frame, so that a frame written twice is there once."""

    def __init__(self, path: Path, who: str = "overlaysink") -> None:
        self._path, self._who = path, who
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _fault(who, path, error.strerror or str(error)) from None

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:  # noqa: ARG002 - a picture has no time
        """Write ``picture`` whole, under a name that does not yet count until it is."""
        file = self._path / f"{seq:06d}.png"
        try:
            file.with_suffix(".part").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            file.with_suffix(".part").replace(file)
        except OSError as error:
            raise _fault(self._who, file, error.strerror or str(error)) from None

    def close(self) -> None:
        """Nothing is open."""


class VideoFile:
    """A video whose pictures are shown at their ``pts_ns``, counted from the first; one of another size is fitted in.

    AVI knows one frame rate only: there, a picture takes the place that is nearest to its time.
    """

    def __init__(self, path: Path, who: str = "overlaysink") -> None:
        self._path, self._who = path, who
        self._first: tuple[Picture, int] | None = None
        self._encoder: _Encoder | None = None
        self._is_closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise _fault(who, path, error.strerror or str(error)) from None

    def add(self, picture: Picture, seq: int, pts_ns: int) -> None:  # noqa: ARG002 - its time says where it goes
        """Encode ``picture``. The first waits for the second, since their distance is the frame rate."""
        if self._first is None:
            self._first = picture, pts_ns
            return
        with _faults(self._who, self._path):
            if self._encoder is None:
                self._begin(1e9 / max(pts_ns - self._first[1], 1))
            self._encode(picture, pts_ns)

    def close(self) -> None:
        """Write what still waits, and the end of the file; nothing is left of one without pictures. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        with _faults(self._who, self._path):
            if self._first is None:
                self._path.unlink()
            elif self._encoder is None:
                self._begin(_GUESS_FPS)
            if self._encoder is not None:
                self._encoder.close()

    def _begin(self, fps: float) -> None:
        """Open the encoder and give it the first picture."""
        assert self._first is not None
        picture, pts_ns = self._first
        self._encoder = _Encoder(self._path, _even(picture.shape[1], picture.shape[0]), fps)
        self._encode(picture, pts_ns)

    def _encode(self, picture: Picture, pts_ns: int) -> None:
        assert self._first is not None
        assert self._encoder is not None
        self._encoder.encode(picture, pts_ns - self._first[1])


class _Encoder:
    """An open video file of one size."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        suffix = path.suffix.lower()
        codec = _available(CODECS[suffix])
        rate = Fraction(fps).limit_denominator(1001)
        self._size = size
        self._tick_s = 1 / rate if suffix in _CONSTANT_RATE else Fraction(1, _TICKS_A_SECOND)
        self._last_tick = -1
        self._container: OutputContainer | None = av.open(str(path), "w", options=_MUXER)
        stream = self._container.add_stream(codec, rate=rate, options=_OPTIONS.get(codec, {}))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = _PIXELS.get(codec, "yuv420p")
        self._stream.gop_size = max(1, round(fps * _KEY_FRAME_S))
        self._stream.codec_context.time_base = self._tick_s

    def encode(self, picture: Picture, at_ns: int) -> None:
        """Show ``picture`` from ``at_ns`` on."""
        assert self._container is not None
        frame = av.VideoFrame.from_ndarray(fitted(picture, self._size), format="bgr24")
        self._last_tick = max(self._last_tick + 1, round(Fraction(at_ns, 10**9) / self._tick_s))
        frame.pts, frame.time_base = self._last_tick, self._tick_s
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the end of the file; idempotent."""
        container, self._container = self._container, None
        if container is not None:
            container.mux(self._stream.encode(None))
            container.close()


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """``picture`` in the middle of one of ``size`` (width, height), as large as fits, black around it."""
    width, height = size
    if picture.shape[1] - width in (0, 1) and picture.shape[0] - height in (0, 1):
        return np.ascontiguousarray(picture[:height, :width])
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    whole = np.zeros((height, width, 3), np.uint8)
    whole[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return whole


def _even(width: int, height: int) -> tuple[int, int]:
    """The size without an odd last column or row, which 4:2:0 video cannot have."""
    return max(2, width // 2 * 2), max(2, height // 2 * 2)


def _available(names: tuple[str, ...]) -> str:
    for name in names:
        with suppress(ValueError, av.error.FFmpegError):
            av.codec.Codec(name, "w")
            return name
    raise PropertyError(f"overlaysink: this build of FFmpeg has none of {', '.join(names)}; write .avi, or a folder")


@contextmanager
def _faults(who: str, path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the system say into one line."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise _fault(who, path, error.strerror or str(error)) from None


def _fault(who: str, path: Path, why: str) -> TransportError:
    return TransportError(f"{who} cannot write {path}: {why}; choose another location=")
