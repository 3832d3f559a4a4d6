"""Reads files whose bytes a test has changed."""

from __future__ import annotations

from pathlib import Path

from stream.capture.video_file import VideoFile
from stream.errors import SourceError


def read(path: Path, content: bytes) -> tuple[int, str]:
    """How many frames are delivered, and the error after them."""
    path.write_bytes(content)
    count = 0
    try:
        with VideoFile(path) as video:
            for _ in video.shots():
                count += 1
    except SourceError as error:
        return count, str(error)
    return count, ""
