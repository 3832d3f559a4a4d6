"""Encoding of frames one by one, each complete when its bytes are returned."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import PropertyError, TransportError
from stream.output.pictures import encode

Pixels = NDArray[np.uint8]

_CODECS = ("libx264", "libopenh264")
_OPTIONS = {
    # zerolatency: no B-frames and no look-ahead, so that each frame is out before the next is in.
    "libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "forced-idr": "1"},
}
_KEY_FRAME_NS = 1_000_000_000
_MAX_FRAMES_TO_KEY = 250
_RATE = 30
_JPEG_QUALITY = 90


class VideoEncoder:
    """Encodes the frames of one camera as H.264 (Annex B); a key frame carries all that a decoder must know.

    Key frames come about every second of ``pts_ns``. Odd sizes get one more row or column, since 4:2:0 needs even ones.
    """

    def __init__(self) -> None:
        self._context: Any = None
        self._key_ns = 0
        self._count = 0

    def encode(self, pixels: Pixels, pts_ns: int, *, as_key: bool = False) -> bytes:
        """Encode a BGR picture (H, W, 3), as a key frame if ``as_key``. Raises :class:`TransportError`."""
        import av
        from av.error import FFmpegError
        from av.video.frame import PictureType

        padded = _pad(pixels)
        height, width = padded.shape[:2]
        if self._context is None or (self._context.width, self._context.height) != (width, height):
            self._context, as_key = _open(width, height), True
        frame = av.VideoFrame.from_ndarray(padded, format="bgr24")
        frame.pts, self._count = self._count, self._count + 1
        if as_key or not 0 <= pts_ns - self._key_ns < _KEY_FRAME_NS:
            frame.pict_type, self._key_ns = PictureType.I, pts_ns
        try:
            packets = self._context.encode(frame)
        except FFmpegError as error:
            self._context = None
            raise TransportError(f"recordsink cannot encode a frame: {error.strerror}; set video=jpeg") from None
        if len(packets) != 1:
            self._context = None
            raise TransportError("recordsink cannot encode a frame: the encoder holds it back; set video=jpeg")
        return bytes(packets[0])


def encode_jpeg(pixels: Pixels, name: str) -> bytes:
    """A JPEG of a BGR picture (H, W, 3). Raises :class:`PropertyError`, which calls it ``name``, if it is too large."""
    remedy = "scale the frames down, or set video=none"
    return encode(pixels, name, suffix=".jpg", quality=_JPEG_QUALITY, remedy=remedy)


def check_encoder() -> None:
    """Raise :class:`PropertyError` if this build of FFmpeg cannot encode H.264."""
    _find_codec()


def _find_codec() -> str:
    import av.codec
    from av.error import FFmpegError

    for name in _CODECS:
        with suppress(ValueError, FFmpegError):
            av.codec.Codec(name, "w")
            return name
    raise PropertyError(f"recordsink: this build of FFmpeg has none of {', '.join(_CODECS)}; set video=jpeg")


def _open(width: int, height: int) -> Any:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    name = _find_codec()
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, _RATE), Fraction(_RATE)
    context.gop_size, context.max_b_frames = _MAX_FRAMES_TO_KEY, 0
    # What the conversion from BGR makes; players would take larger pictures for BT.709.
    context.colorspace, context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
    context.options = _OPTIONS.get(name, {})
    return context


def _pad(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
