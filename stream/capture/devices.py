"""Cameras plugged into this machine: which there are, and how OpenCV is told which one is meant."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """A camera: its ``path`` or index as the system names it, and the ``name`` that its maker gave it."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.path} ({self.name})" if self.name else self.path


_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's name for each system's way to a camera."""


def devices() -> tuple[Device, ...]:
    """The cameras of this machine, in the system's order; none where the system cannot be asked."""
    import av
    import av.device

    try:
        found = av.device.enumerate_input_devices(_FORMATS.get(sys.platform, "v4l2"))
    except (av.FFmpegError, ValueError):
        return ()
    videos = [device for device in found if "video" in (device.media_types or ["video"])]
    return tuple(_device(index, device.name, device.description) for index, device in enumerate(videos))


def _device(index: int, name: str, description: str) -> Device:
    """On Linux a camera is a path; elsewhere OpenCV counts them in the system's order."""
    return Device(name if sys.platform == "linux" else str(index), description)


def resolve(wanted: str, present: tuple[Device, ...]) -> int | str | None:
    """What OpenCV calls the camera that people call ``wanted``: an index, a path, or part of its name; None where the
    path does not exist or no camera has such a name."""
    if wanted.isdecimal():
        return int(wanted)
    if "/" in wanted:
        return wanted if Path(wanted).exists() else None
    named = [device.path for device in present if wanted.lower() in device.name.lower()]
    return (int(named[0]) if named[0].isdecimal() else named[0]) if named else None


def listed(present: tuple[Device, ...]) -> str:
    """``there is /dev/video0 (USB camera)``, or that there is none."""
    return f"there is {', '.join(map(str, present))}" if present else "this machine has none"
