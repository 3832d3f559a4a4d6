"""The chunks of an animated WebP: OpenCV is silent about frames that it does not reach."""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 12
_FRAME = b"ANMF"


def count_frames(path: Path) -> int:
    """How many chunks of the file are frames; 0 for a still picture."""
    count, at = 0, _HEAD_BYTES
    with path.open("rb") as file:
        while file.seek(at) == at and len(head := file.read(8)) == 8:
            count += head[:4] == _FRAME
            size = int.from_bytes(head[4:], "little")
            at += 8 + size + size % 2
    return count


def is_complete(path: Path) -> bool:
    """True if the file is as long as its header says (RFC 9649, 2.4)."""
    with path.open("rb") as file:
        return path.stat().st_size >= 8 + int.from_bytes(file.read(8)[4:], "little")
