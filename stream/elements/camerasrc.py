"""``camerasrc``: frames from a camera plugged into this machine (V4L2, AVFoundation, DirectShow)."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stream.capture.decoded_picture import ArrayPicture, Shot
from stream.capture.devices import Device, devices, listed, resolve
from stream.capture.live_source import LiveSource
from stream.capture.reader import DisconnectedError
from stream.capture.stills import quiet_opencv

_log = logging.getLogger(__name__)

_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}


class Capture(Protocol):
    """What is needed of ``cv2.VideoCapture``."""

    def isOpened(self) -> bool: ...  # noqa: N802  OpenCV's name
    def read(self) -> tuple[bool, Any]: ...
    def get(self, prop: int) -> float: ...
    def set(self, prop: int, value: float) -> bool: ...
    def release(self) -> None: ...


@dataclass
class Camerasrc(LiveSource):
    """Frames of a camera as they come, (H, W, 3) uint8 BGR.

    A camera gives what it can: when that is not the ``width``, ``height``, ``fps`` or ``fourcc`` asked for, a warning
    says so. ``pts_ns`` and ``wall_ns`` are those of the frame's arrival, for OpenCV passes on no better.

    Raises :class:`SourceError`, listing the cameras there are, when this one is not among them or cannot be opened.
    """

    device: Annotated[
        str, Meta(description="an index, a path as /dev/video0 or /dev/v4l/by-id/…, or part of the camera's name")
    ] = "0"
    width: Annotated[int, Meta(ge=0, description="px; 0 for the camera's own choice")] = 0
    height: Annotated[int, Meta(ge=0, description="px; 0 for the camera's own choice")] = 0
    fps: Annotated[float, Meta(ge=0, description="frames a second; 0 for the camera's own choice")] = 0.0
    fourcc: Annotated[
        str, Meta(pattern=r"^(.{4})?$", description="how pixels come over the cable, as in MJPG; empty: its own choice")
    ] = ""

    @property
    def nominal_fps(self) -> float | None:
        return self.fps or None

    @property
    def address(self) -> str:
        return f"camera {self.device!r}"

    @property
    def remedy(self) -> str:
        return "plug it in, or give device= another index, path or name"

    @staticmethod
    def open_capture(device: int | str, backend: int) -> Capture:
        """OpenCV's way to a camera; a test puts a camera of its own here."""
        open_any = cast("Callable[[int | str, int], Capture]", cv2.VideoCapture)  # its overloads take either, not both
        return open_any(device, backend)

    def connect(self) -> CameraFeed:
        """Open the camera and ask it for what was wanted. Raises :class:`DisconnectedError`."""
        present = devices()
        which = resolve(self.device, present)
        if which is None:
            raise DisconnectedError(f"it is not there; {listed(present)}")
        with quiet_opencv():
            capture = self.open_capture(which, _BACKENDS.get(sys.platform, cv2.CAP_ANY))
        if not capture.isOpened():
            capture.release()
            raise DisconnectedError(_why_closed(which, present))
        self._ask(capture)
        return CameraFeed(capture, self.context.now_ns)

    def _ask(self, capture: Capture) -> None:
        """Ask for what was wanted, the pixel format first since sizes and rates hang on it; warn of what is not had."""
        asked = [item for item in self._wanted() if item[2]]
        for _, prop, value in asked:
            capture.set(prop, value)
        refused = [name for name, prop, value in asked if abs(capture.get(prop) - value) > _NEARLY]
        if refused:
            _log.warning(
                "%s cannot give the %s asked for; it gives %s", self.address, " and ".join(refused), _given(capture)
            )

    def _wanted(self) -> Sequence[tuple[str, int, float]]:
        code = cv2.VideoWriter.fourcc(*self.fourcc) if self.fourcc else 0
        return (
            (f"fourcc={self.fourcc}", cv2.CAP_PROP_FOURCC, code),
            (f"width={self.width}", cv2.CAP_PROP_FRAME_WIDTH, self.width),
            (f"height={self.height}", cv2.CAP_PROP_FRAME_HEIGHT, self.height),
            (f"fps={self.fps:g}", cv2.CAP_PROP_FPS, self.fps),
        )


_NEARLY = 0.05
"""A rate of 29.97 is not the 30 asked for in name only; a camera rounds it to a fraction of its own."""


def _given(capture: Capture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    fourcc = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code > 0 else "its own format"
    width, height = (capture.get(prop) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return f"{width:g}x{height:g} at {capture.get(cv2.CAP_PROP_FPS):g} fps in {fourcc}"


def _why_closed(which: int | str, present: tuple[Device, ...]) -> str:
    """Missing and busy look the same to OpenCV; whether the system lists the camera tells them apart."""
    path = f"/dev/video{which}" if isinstance(which, int) and sys.platform == "linux" else str(which)
    if path in {device.path for device in present}:
        return "it is there, but another program holds it, or this user may not open it (group video)"
    return f"it is not there; {listed(present)}"


class CameraFeed:
    """An opened camera. A camera that was pulled out answers every read with nothing."""

    def __init__(self, capture: Capture, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._capture, self._now_ns = capture, now_ns

    def read(self) -> Shot:
        """The next picture; blocks until the camera has one. Raises :class:`DisconnectedError`."""
        is_there, pixels = self._capture.read()
        if not is_there or pixels is None:
            raise DisconnectedError("it gives no pictures any more")
        return Shot(ArrayPicture(_bgr(pixels)), None, 0, self._now_ns())

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def _bgr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """OpenCV gives some infrared cameras' pictures with one channel."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return pixels
