"""What the header of a video says about its length and shape, and whether the file is whole."""

from __future__ import annotations

import os
import uuid
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

_TS_DISCONT = 0x0200
"""``AVFMT_TS_DISCONT`` of libavformat/avformat.h: times may jump in this format (MPEG-TS, MPEG-PS)."""

_MAX_GAP_NS = {True: 10 * 1_000_000_000, False: 3600 * 1_000_000_000}
"""The longest time for which a frame can be held, by whether times may jump in the format. FFmpeg's own tool takes
10 s; elsewhere a screen recording may show one frame for minutes."""

_MAX_ASPECT = 8
"""No material has wider or narrower pixels; a header that says so is wrong."""

_ASF_HEADER_BYTES = 1 << 16
_ASF_PROPERTIES = uuid.UUID("8CABDCA1-A947-11CF-8EE4-00C00C205365").bytes_le

_OWN_SHAPE = ("gif", "apng")
"""Formats whose pixels every viewer shows as squares, whatever the header says."""


def max_gap_ns(container: Any) -> int:
    """The longest time between two frames; a longer one means that the clock was set."""
    return _MAX_GAP_NS[bool(container.format.flags & _TS_DISCONT)]


def pixel_aspect(container: Any, stream: Any) -> Fraction:
    """The width of a pixel relative to its height; 1 where the header does not say."""
    aspect = stream.sample_aspect_ratio
    is_known = aspect and container.format.name not in _OWN_SHAPE and 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT
    return Fraction(aspect) if is_known else Fraction(1)


def count_frames(container: Any, stream: Any) -> int:
    """The number of frames, counted or computed from the duration; 0 where the header has neither."""
    if container.format.name == "gif":  # FFmpeg counts the pictures in the file, not those in a header
        return 0
    duration_s = _tagged_seconds(stream)
    return stream.frames or (round(duration_s * stream.average_rate) if duration_s and stream.average_rate else 0)


def is_cut(path: Path, container: Any, stream: Any, packets: int, end_ns: int, frame_ns: int) -> bool:
    """True if the file ends before its header says, after ``packets`` and ``end_ns``, with frames of ``frame_ns``.

    An MP4 or AVI has less then, both in frames and in seconds: an edit list may show fewer frames than are stored, and
    a frame's duration may be wrong. A Matroska file has fewer bytes: it counts no frames, and its last one may be held.
    """
    if "matroska" in container.format.name:
        return _lacks_bytes(path)
    if container.format.name == "asf":
        return path.stat().st_size < _asf_bytes(path)
    seconds = _seconds(container, stream)
    # The header of a complete file rounds its duration by up to one frame; that of an AVI may count empty ones.
    tolerance_ns = max(1.5 * frame_ns, 50_000_000)
    return packets < stream.frames and (seconds is None or seconds * 1e9 - end_ns > tolerance_ns)


def stated_seconds(container: Any) -> float:
    """The duration in the header of an ASF file with nothing but a video; 0 for others: their sound may be longer."""
    is_alone = container.format.name == "asf" and len(container.streams) == 1
    return (container.duration or 0) / 1e6 if is_alone else 0.0


def _seconds(container: Any, stream: Any) -> float | None:
    """The duration in the header; None if it has none, or if FFmpeg estimates it from the file size."""
    if "mp4" in container.format.name:
        return float(stream.duration * stream.time_base) if stream.duration else None
    return float(stream.frames * stream.time_base) if container.format.name == "avi" and stream.frames else None


def _tagged_seconds(stream: Any) -> float | None:
    """``DURATION=00:00:10.292000000``, as Matroska writers tag a stream."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _lacks_bytes(path: Path) -> bool:
    """True if a Matroska file is shorter than its segment; FFmpeg reads such a file to its end without an error.

    The file is two EBML elements (RFC 8794, 4 and 6), a header and the segment; a live recording has no size for it.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(2):
            _read_vint(file)
            size = _read_vint(file)
            if size is None:
                return False
            if file.tell() + size > total:
                return True
            file.seek(size, os.SEEK_CUR)
    return False


def _asf_bytes(path: Path) -> int:
    """The size of an ASF file by its header (Microsoft's specification 01.20.05, 3.2); 0 for a live recording."""
    with path.open("rb") as file:
        head = file.read(_ASF_HEADER_BYTES)
    _, is_there, properties = head.partition(_ASF_PROPERTIES)
    is_live = len(properties) < 72 or properties[72] & 1
    return 0 if not is_there or is_live else int.from_bytes(properties[24:32], "little")


def _read_vint(file: IO[bytes]) -> int | None:
    """Read an EBML integer of variable length; None for the one that stands for an unknown size."""
    first = (file.read(1) or b"\xff")[0]
    following = 8 - first.bit_length()
    bits = 7 * (following + 1)
    value = int.from_bytes(bytes([first]) + file.read(following)) & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
