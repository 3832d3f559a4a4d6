"""Frames of a video by their numbers, exactly: found by their times, decoded from the key frame before them."""

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
    """(H, W, 3) uint8 BGR, upright, of each of ``numbers``, counted from 0. Raises :class:`EngineError` naming it."""
    times = frame_times(path)
    beyond = [number for number in numbers if not 0 <= number < len(times)]
    if beyond:
        raise EngineError(f"{path}: there is no frame {beyond[0]}; it has {len(times)}, counted from 0")
    wanted = {times[number]: number for number in numbers}
    read = _decoded(path, wanted)
    if len(read) < len(wanted):
        lost = min(set(wanted.values()) - read.keys())
        raise EngineError(f"{path}: frame {lost} cannot be decoded; the video is damaged")
    return read


@lru_cache(maxsize=1024)
def frame_times(path: Path) -> tuple[int, ...]:
    """The time of every frame in the order of showing, in the video's own unit; nothing is decoded."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return tuple(sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise EngineError(f"{path}: it is no video ({error})") from None


@lru_cache(maxsize=1024)
def video_size(path: Path) -> tuple[int, int]:
    """(width, height) px of its frames, upright."""
    height, width = read_frames(path, [0])[0].shape[:2]
    return width, height


def _decoded(path: Path, wanted: dict[int, int]) -> dict[int, Pixels]:
    first, last = min(wanted), max(wanted)
    read: dict[int, Pixels] = {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(first, stream=stream, backward=True, any_frame=False)
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    read[wanted[frame.pts]] = _upright(frame)
                if frame.pts is not None and frame.pts >= last:
                    break
    except av.FFmpegError as error:
        raise EngineError(f"{path}: {error}") from None
    return read


def _upright(frame: av.VideoFrame) -> Pixels:
    """FFmpeg tells by how many degrees counter-clockwise a frame is to be turned."""
    pixels = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), np.uint8)
