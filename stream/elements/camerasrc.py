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
from stream.capture.devices import Device, describe_devices, list_devices, resolve_device
from stream.capture.live_source import LiveSource
from stream.capture.reader import DisconnectedError
from stream.capture.stills import quiet_opencv

_log = logging.getLogger(__name__)

_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}


class Capture(Protocol):
    """The methods of ``cv2.VideoCapture`` that ``camerasrc`` uses."""

    def isOpened(self) -> bool: ...  # noqa: N802  OpenCV's name
    def read(self) -> tuple[bool, Any]: ...
    def get(self, prop: int) -> float: ...
    def set(self, prop: int, value: float) -> bool: ...
    def release(self) -> None: ...


@dataclass
class Camerasrc(LiveSource):
    """Frames of a local camera as they arrive, (H, W, 3) uint8 BGR.

    If the camera cannot deliver the requested ``width``, ``height``, ``fps`` or ``fourcc``, a warning names what it
    delivers instead. ``pts_ns`` and ``wall_ns`` are the frame's arrival time, since OpenCV provides no better.

    Raises :class:`SourceError`, listing the available cameras, if this one is missing or cannot be opened.
    """

    device: Annotated[
        str, Meta(description="an index, a path such as /dev/video0 or /dev/v4l/by-id/…, or part of the camera's name")
    ] = "0"
    width: Annotated[int, Meta(ge=0, description="px; 0 for the camera's default")] = 0
    height: Annotated[int, Meta(ge=0, description="px; 0 for the camera's default")] = 0
    fps: Annotated[float, Meta(ge=0, description="frames per second; 0 for the camera's default")] = 0.0
    fourcc: Annotated[
        str,
        Meta(pattern=r"^(.{4})?$", description="pixel format on the cable, e.g. MJPG; empty for the camera's default"),
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
        """Open a camera with OpenCV; tests replace this."""
        open_any = cast("Callable[[int | str, int], Capture]", cv2.VideoCapture)  # its overloads take either, not both
        return open_any(device, backend)

    def connect(self) -> CameraFeed:
        """Open the camera and set the requested properties. Raises :class:`DisconnectedError`."""
        present = list_devices()
        device = resolve_device(self.device, present)
        if device is None:
            raise DisconnectedError(f"it is not connected; {describe_devices(present)}")
        with quiet_opencv():
            capture = self.open_capture(device, _BACKENDS.get(sys.platform, cv2.CAP_ANY))
        if not capture.isOpened():
            capture.release()
            raise DisconnectedError(_explain_failure(device, present))
        self._set_properties(capture)
        return CameraFeed(capture, self.context.now_ns)

    def _set_properties(self, capture: Capture) -> None:
        """Set the requested properties, the pixel format first since sizes and rates depend on it; warn if refused."""
        requested = [item for item in self._requests() if item[2]]
        for _, prop, value in requested:
            capture.set(prop, value)
        refused = [name for name, prop, value in requested if abs(capture.get(prop) - value) > _TOLERANCE]
        if refused:
            _log.warning(
                "%s does not support %s; it delivers %s", self.address, " and ".join(refused), _describe(capture)
            )

    def _requests(self) -> Sequence[tuple[str, int, float]]:
        code = cv2.VideoWriter.fourcc(*self.fourcc) if self.fourcc else 0
        return (
            (f"fourcc={self.fourcc}", cv2.CAP_PROP_FOURCC, code),
            (f"width={self.width}", cv2.CAP_PROP_FRAME_WIDTH, self.width),
            (f"height={self.height}", cv2.CAP_PROP_FRAME_HEIGHT, self.height),
            (f"fps={self.fps:g}", cv2.CAP_PROP_FPS, self.fps),
        )


_TOLERANCE = 0.05
"""Cameras round a rate to a fraction of their own, by less than this; 29.97 fps still differs from 30."""


def _describe(capture: Capture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    fourcc = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code > 0 else "its own format"
    width, height = (capture.get(prop) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return f"{width:g}x{height:g} at {capture.get(cv2.CAP_PROP_FPS):g} fps in {fourcc}"


def _explain_failure(device: int | str, present: tuple[Device, ...]) -> str:
    """OpenCV does not distinguish a missing camera from a busy one; the system's list of cameras does."""
    path = f"/dev/video{device}" if isinstance(device, int) and sys.platform == "linux" else str(device)
    if path in {camera.path for camera in present}:
        return "it is connected, but another program uses it, or this user may not open it (group video)"
    return f"it is not connected; {describe_devices(present)}"


class CameraFeed:
    """An open camera. An unplugged camera returns no picture on every read."""

    def __init__(self, capture: Capture, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._capture, self._now_ns = capture, now_ns

    def read(self) -> Shot:
        """Return the next picture; blocks until the camera has one. Raises :class:`DisconnectedError`."""
        has_picture, pixels = self._capture.read()
        if not has_picture or pixels is None:
            raise DisconnectedError("it delivers no more pictures")
        return Shot(ArrayPicture(_to_bgr(pixels)), None, 0, self._now_ns())

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def _to_bgr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """OpenCV returns the pictures of some infrared cameras with one channel."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    return pixels
