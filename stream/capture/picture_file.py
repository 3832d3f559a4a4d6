"""Picture files as shots: one for a still, one for each frame of an animation and each page of a TIFF."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from stream import wording
from stream.capture.decoded_picture import ArrayPicture, Pixels, Shot
from stream.capture.heif_grid import read_grid
from stream.capture.picture_suffixes import HEIF_SUFFIXES, find_format
from stream.capture.regular_file import check_readable
from stream.capture.stills import count_pictures, opencv_name, read_still
from stream.capture.video_file import Damaged, VideoFile, header_fps
from stream.capture.webp_chunks import count_frames, is_complete
from stream.errors import SourceError

_CHUNK = 16
"""Frames of an animation to decode at once; OpenCV starts at the first frame every time."""


def read_pictures(
    path: Path, duration_ns: int, damaged: Damaged = "error", now_ns: Callable[[], int] = time.time_ns
) -> Iterator[Shot]:
    """Yield every picture in the file; ``duration_ns`` is how long one is shown that has no duration of its own.

    Raises :class:`SourceError` if the file is not a picture, or when what remains of it cannot be decoded.
    """
    check_readable(path)
    captured_ns, suffix, count = now_ns(), find_format(path), count_pictures(path)
    if suffix == ".webp":
        count = max(count, count_frames(path))
    if count == 1 and suffix in HEIF_SUFFIXES:
        yield from _read_heif(path, duration_ns, damaged, now_ns)
    elif suffix == ".gif" or (count > 1 and suffix in (".avif", ".png")):  # OpenCV counts none behind damage to a GIF
        with VideoFile(path, damaged, now_ns) as video:
            yield from video.shots()
    elif count > 1:
        begin_ns = 0
        for pixels, own_ns in _read_animation(path, count) if suffix == ".webp" else _read_pages(path, count):
            shot = Shot(ArrayPicture(pixels), begin_ns, own_ns or duration_ns, captured_ns)
            yield shot
            begin_ns = shot.end_ns
    else:
        yield Shot(ArrayPicture(read_still(path)), 0, duration_ns, captured_ns)
        if suffix in (".tif", ".tiff"):
            _check_pages(path, 1)


def nominal_fps(path: Path, still_fps: float) -> float | None:
    """The rate of the pictures in the file; None for an animation whose header has none."""
    if count_pictures(path) == 1:
        return still_fps
    suffix = find_format(path)
    if suffix == ".webp":
        return None
    return header_fps(path) if suffix in (".avif", ".gif", ".png") else still_fps


def _read_heif(path: Path, duration_ns: int, damaged: Damaged, now_ns: Callable[[], int]) -> Iterator[Shot]:
    """Read a HEIC or AVIF, which may be a grid of tiles, or a sequence that OpenCV gave up."""
    captured_ns = now_ns()
    try:
        grid = read_grid(path)
        if grid is not None:
            yield Shot(ArrayPicture(grid.join(_read_tiles(path, grid.tiles))), 0, duration_ns, captured_ns)
            return
    except (KeyError, ValueError, IndexError) as error:
        raise SourceError(f"{str(path)!r} has tiles that cannot be put together ({error}); copy it again") from error
    with VideoFile(path, damaged, now_ns) as video:
        shots = video.shots()
        if video.header_frames > 1:
            yield from shots
        else:
            yield Shot(next(shots).picture, 0, duration_ns, captured_ns)


def _read_tiles(path: Path, ids: Collection[int]) -> dict[int, Pixels]:
    """Decode the tiles, by their ids. Thumbnails and depths are left alone."""
    import av

    tiles: dict[int, Pixels] = {}
    packet: Any
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            streams = [stream for stream in container.streams if stream.id in ids]
            for packet in container.demux(streams) if streams else ():
                for frame in packet.decode():
                    tiles[packet.stream.id] = frame.to_ndarray(format="bgr24")
    except av.FFmpegError as error:
        raise SourceError(f"{str(path)!r} cannot be decoded: {error.strerror}; copy it again") from error
    return tiles


def _read_animation(path: Path, count: int) -> Iterator[tuple[Pixels, int]]:
    """Yield the frames of a WebP, which FFmpeg cannot read, and their durations in ns."""
    check_readable(path)
    delivered = 0
    for start in range(0, count, _CHUNK):
        chunk = _decode(path, f"frame {start}", partial(cv2.imreadanimation, start=start, count=_CHUNK))
        for pixels, duration_ms in zip(chunk.frames, chunk.durations, strict=False):
            yield np.ascontiguousarray(pixels[:, :, :3], np.uint8), int(duration_ms) * 1_000_000
            delivered += 1
    if delivered < count or not is_complete(path):
        raise SourceError(f"{str(path)!r} is damaged after {delivered} of {count} frames; copy it again")


def _read_pages(path: Path, count: int) -> Iterator[tuple[Pixels, int]]:
    """Yield the pages of a TIFF, which have no duration."""
    check_readable(path)
    for number in range(count):
        decode = partial(cv2.imreadmulti, start=number, count=1, flags=cv2.IMREAD_COLOR)
        for pixels in _decode(path, f"page {number}", decode):
            yield np.asarray(pixels, np.uint8), 0
    _check_pages(path, count)


def _check_pages(path: Path, count: int) -> None:
    if _lacks_pages(path, count):
        pages = wording.count(count, "page")
        raise SourceError(f"{str(path)!r} is truncated after {pages}: the next one is missing; copy it again")


def _lacks_pages(path: Path, count: int) -> bool:
    """True if the directories of a TIFF lead to more than ``count`` pages, or to a place that holds none.

    OpenCV counts the directories that it reaches, and is silent about the next. BigTIFF is not looked into.
    """
    with path.open("rb") as file:
        head = file.read(8)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        seen, at = set[int](), int.from_bytes(head[4:], order) if int.from_bytes(head[2:4], order) == _TIFF else 0
        while at and at not in seen:
            seen.add(at)
            file.seek(at)
            entries = int.from_bytes(file.read(2), order)
            rest = file.read(12 * entries + 4)
            if not entries or len(rest) < 12 * entries + 4:  # as where the file is cut
                return True
            at = int.from_bytes(rest[-4:], order)
    return len(seen) > count


_TIFF = 42


def _decode(path: Path, what: str, decode: Callable[[str], tuple[bool, Any]]) -> Any:
    """What OpenCV's ``decode`` makes of the file. Raises :class:`SourceError` if it cannot."""
    try:
        with opencv_name(path) as name:
            is_decoded, found = decode(name)
    except cv2.error:
        is_decoded = False
    if not is_decoded:
        raise SourceError(f"{str(path)!r}: {what} cannot be decoded; copy it again")
    return found
