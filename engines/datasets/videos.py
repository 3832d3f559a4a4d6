"""Frame-accurate reading of videos: frames are found by their timestamps and decoded from the preceding key frame."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

Pixels = NDArray[np.uint8]


def read_frames(path: Path, numbers: Collection[int]) -> dict[int, Pixels]:
    """(H, W, 3) uint8 BGR, upright, of the frames ``numbers``, counted from 0. Raises :class:`EngineError`."""
    times = frame_times(path)
    out_of_range = [number for number in numbers if not 0 <= number < len(times)]
    if out_of_range:
        raise EngineError(f"{path}: there is no frame {out_of_range[0]}; it has {len(times)}, counted from 0")
    wanted = {times[number]: number for number in numbers}
    read = _decode(path, wanted)
    if len(read) < len(wanted):
        lost = min(set(wanted.values()) - read.keys())
        raise EngineError(f"{path}: frame {lost} cannot be decoded; the video is damaged")
    return read


@lru_cache(maxsize=1024)
def frame_times(path: Path) -> tuple[int, ...]:
    """The timestamp of every frame in presentation order, in the video's time base, without decoding."""
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams.video[0]
            return tuple(sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise EngineError(f"{path}: it is not a video ({error})") from None


@lru_cache(maxsize=1024)
def video_size(path: Path) -> tuple[int, int]:
    """(width, height) px of the upright frames."""
    height, width = read_frames(path, [0])[0].shape[:2]
    return width, height


def _decode(path: Path, wanted: dict[int, int]) -> dict[int, Pixels]:
    first, last = min(wanted), max(wanted)
    read: dict[int, Pixels] = {}
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams.video[0]
            container.seek(first, stream=stream, backward=True, any_frame=False)
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    read[wanted[frame.pts]] = _to_upright(frame)
                if frame.pts is not None and frame.pts >= last:
                    break
    except av.FFmpegError as error:
        raise EngineError(f"{path}: {error}") from None
    return read


def _to_upright(frame: av.VideoFrame) -> Pixels:
    """FFmpeg's ``rotation`` is counter-clockwise, in degrees."""
    pixels = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), np.uint8)
