"""The packets of an MPEG transport stream, all of one size: a file that ends within one was cut, or lacks bytes."""

from __future__ import annotations

from pathlib import Path

_SYNC = 0x47
_SIZES = (188, 192, 204)
"""Of ISO/IEC 13818-1, of M2TS (four bytes of time before each) and with error correction (16 bytes behind each)."""

_PROBED = 5


def count_odd_bytes(path: Path) -> int:
    """How many bytes follow the last whole packet; 0 where the size of packets is unknown."""
    with path.open("rb") as file:
        head = file.read(_PROBED * max(_SIZES))
    for size in _SIZES:
        begin = size - 188 if size == 192 else 0
        marks = head[begin : _PROBED * size : size]
        if len(marks) == _PROBED and set(marks) == {_SYNC}:
            return path.stat().st_size % size
    return 0
