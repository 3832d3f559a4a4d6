"""Encodes frames as JPEG in a thread of its own, so that the line that has the frames never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.messages import Frame
from stream.output.pictures import MAX_JPEG_PX, encode

_LOG = logging.getLogger(__name__)

_QUALITY = 80
_MIN_HEIGHT_PX = 16

Picture = NDArray[np.uint8]


class PictureEncoder:
    """Calls ``publish(frame, jpeg)`` for frames that it was offered, in its thread.

    One frame of each camera waits at most, and at most ``fps`` frames a second of a camera are taken; others are left
    out, so that neither memory nor work grows with the rate of a camera. Pictures are at most ``height`` px high,
    ``max_bytes`` long and as wide as a JPEG can be, and scaled down where they would be more. Close it before what
    ``publish`` uses.
    """

    def __init__(
        self, publish: Callable[[Frame, bytes], None], *, height: int, fps: float, max_bytes: int, owner: str
    ) -> None:
        self._publish, self._height, self._max_bytes, self._owner = publish, height, max_bytes, owner
        self._interval_s = 1.0 / fps
        self._due_s: dict[str, float] = {}
        self._waiting: dict[str, Frame] = {}
        self._spare: dict[str, Picture] = {}
        self._changed = threading.Condition()
        self._is_closed = self._has_warned = False
        self._thread = threading.Thread(target=self._run, name=f"{owner}-pictures", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame) -> bool:
        """Copy the frame to be encoded; False if it is left out."""
        camera, now_s = frame.camera, time.monotonic()
        due_s = self._due_s.get(camera, now_s)
        if now_s < due_s or camera in self._waiting:
            return False
        # Turns keep their distance on average, unless the camera paused.
        self._due_s[camera] = max(due_s, now_s - self._interval_s) + self._interval_s
        pixels = self._spare.pop(camera, None)
        if pixels is None or pixels.shape != frame.pixels.shape:
            pixels = np.empty_like(frame.pixels)
        np.copyto(pixels, frame.pixels)  # the pixels may be a view on shared memory that is used again
        with self._changed:
            self._waiting[camera] = replace(frame, pixels=pixels)
            self._changed.notify()
        return True

    def close(self) -> None:
        """Leave out what waits, and wait for the picture that is being encoded. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (frame := self._next()) is not None:
            try:
                self._publish(frame, self._encode(frame.pixels))
            except Exception as error:  # noqa: BLE001 - what fails here must not end the thread, nor the line
                self._warn(frame, error)
            self._spare[frame.camera] = frame.pixels

    def _next(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return None if self._is_closed else self._waiting.pop(next(iter(self._waiting)))

    def _encode(self, pixels: Picture) -> bytes:
        rows, columns = pixels.shape[:2]
        height = max(1, min(rows, self._height, rows * MAX_JPEG_PX // columns))
        jpeg = encode_jpeg(pixels, height)
        while len(jpeg) > self._max_bytes and height > _MIN_HEIGHT_PX:
            height //= 2
            jpeg = encode_jpeg(pixels, height)
        return jpeg

    def _warn(self, frame: Frame, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning(
                "%s: the picture of frame %d of %r is not published: %s", self._owner, frame.seq, frame.camera, error
            )


def encode_jpeg(pixels: Picture, height: int) -> bytes:
    """A JPEG of a BGR picture (H, W, 3), scaled to ``height`` px."""
    if height != pixels.shape[0]:
        size = max(1, round(pixels.shape[1] * height / pixels.shape[0])), height
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode(pixels, "the picture", suffix=".jpg", quality=_QUALITY, remedy="scale the frames down")
