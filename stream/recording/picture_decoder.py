"""Decoding of the recorded pictures of one camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stream.capture.decoded_picture import ArrayPicture, Picture, Pixels, Shape, VideoPicture


class PictureDecoder:
    """Decodes the pictures of one camera, all of them and in order."""

    def __init__(self) -> None:
        self._context: Any = None
        self._reformatter: Any = None

    def decode(self, form: str, data: bytes) -> Picture | None:
        """The picture of a message whose format is ``h264`` or ``jpeg``; None for one that cannot be decoded, such as
        one that lacks the key frame before it."""
        if form == "jpeg":
            return _decode_jpeg(data)
        return self._decode_video(form, data)

    def _decode_video(self, form: str, data: bytes) -> Picture | None:
        import av
        from av.error import FFmpegError
        from av.video.reformatter import VideoReformatter

        try:
            if self._context is None:
                self._context = av.CodecContext.create(form, "r")
                self._context.thread_type = "SLICE"  # threads of frames would hold pictures back
                self._reformatter = VideoReformatter()
            frames = self._context.decode(av.Packet(data))
        except (FFmpegError, ValueError):
            return None
        whole = [frame for frame in frames if not frame.is_corrupt]
        return VideoPicture(whole[-1], self._reformatter) if whole else None


def _decode_jpeg(data: bytes) -> Picture | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # it is empty, or says that it has more than 2^30 pixels
        return None
    return None if pixels is None else ArrayPicture(np.asarray(pixels, np.uint8))


@dataclass(frozen=True, slots=True)
class CroppedPicture:
    """The top left part of a picture, ``size`` (width, height) px."""

    picture: Picture
    size: tuple[int, int]

    @property
    def shape(self) -> Shape:
        return self.size[1], self.size[0], 3

    def copy_to(self, slot: Pixels) -> None:
        whole = np.empty(self.picture.shape, np.uint8)
        self.picture.copy_to(whole)
        np.copyto(slot, whole[: self.size[1], : self.size[0]])
