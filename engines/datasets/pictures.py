"""Pictures of data sets: listed by number, and read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import PictureFile, Source, VideoFrame
from engines.datasets.videos import frame_times, read_frames
from engines.errors import EngineError

Pixels = NDArray[np.uint8]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def read_pictures(sources: Sequence[Source]) -> list[Pixels]:
    """(H, W, 3) uint8 BGR of each source; repeated ones are read once. Raises :class:`EngineError` naming the file."""
    read: dict[Source, Pixels] = _read_videos(sources)
    read |= {source: _read(source.path) for source in set(sources) if isinstance(source, PictureFile)}
    return [read[source] for source in sources]


def _read(path: Path) -> Pixels:
    # As in the published loaders, pixels are taken as stored and EXIF orientation is ignored.
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise EngineError(f"{path}: {'it is not a picture' if path.is_file() else 'there is no such picture'}")
    return np.asarray(pixels, np.uint8)


def _read_videos(sources: Sequence[Source]) -> dict[Source, Pixels]:
    wanted = {source for source in sources if isinstance(source, VideoFrame)}
    read: dict[Source, Pixels] = {}
    for path in {source.path for source in wanted}:
        frames = read_frames(path, {source.number for source in wanted if source.path == path})
        read |= {VideoFrame(path, number): pixels for number, pixels in frames.items()}
    return read


@lru_cache(maxsize=4096)
def sequence_pictures(path: Path) -> dict[int, Source]:
    """The pictures of a sequence by number: the frames of a video, or the files in a folder whose names are numbers.

    Empty if ``path`` does not exist.
    """
    if path.is_file():
        return {number: VideoFrame(path, number) for number in range(len(frame_times(path)))}
    return _numbered_files(path) if path.is_dir() else {}


def _numbered_files(folder: Path) -> dict[int, Source]:
    files = (file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES and file.stem.isdigit())
    return {int(file.stem): PictureFile(file) for file in files}


@lru_cache(maxsize=4096)
def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) px of a picture file."""
    height, width = _read(path).shape[:2]
    return width, height
