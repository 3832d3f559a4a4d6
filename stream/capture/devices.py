"""Cameras plugged into this machine: listing them, and finding the identifier that OpenCV opens."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """A camera: its ``path`` or index in the system, and the manufacturer's ``name``."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.path} ({self.name})" if self.name else self.path


_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's name for the capture API of each system."""


def list_devices() -> tuple[Device, ...]:
    """List the cameras of this machine, in the system's order; empty if the system cannot list them."""
    import av
    import av.device

    try:
        found = av.device.enumerate_input_devices(_FORMATS.get(sys.platform, "v4l2"))
    except (av.FFmpegError, ValueError):
        return ()
    videos = [device for device in found if "video" in (device.media_types or ["video"])]
    return tuple(_device(index, device.name, device.description) for index, device in enumerate(videos))


def _device(index: int, name: str, description: str) -> Device:
    """On Linux a camera is a path; elsewhere OpenCV numbers cameras in the system's order."""
    return Device(name if sys.platform == "linux" else str(index), description)


def resolve_device(wanted: str, present: tuple[Device, ...]) -> int | str | None:
    """Return what OpenCV opens for ``wanted``, which is an index, a path, or part of a camera's name.

    Returns None if the path does not exist or no camera has such a name.
    """
    if wanted.isdecimal():
        return int(wanted)
    if "/" in wanted:
        return wanted if Path(wanted).exists() else None
    named = [device.path for device in present if wanted.lower() in device.name.lower()]
    return (int(named[0]) if named[0].isdecimal() else named[0]) if named else None


def describe_devices(present: tuple[Device, ...]) -> str:
    """Describe the cameras for a message: ``there is /dev/video0 (USB camera)``, or ``this machine has none``."""
    return f"there is {', '.join(map(str, present))}" if present else "this machine has none"
