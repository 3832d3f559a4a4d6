"""Follows the structure of a video file beside FFmpeg, which passes over damaged places without an error."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path


class StructureWalk(ABC):
    """Walks through a file from one piece to the next, up to where FFmpeg has found a packet.

    ``missing`` counts what was left out, if that is no damage.
    """

    missing = 0

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._length = path.stat().st_size
        self._position = 0
        self._is_ended = self._is_damaged = False

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def is_sound(self, until: int | None = None) -> bool:
        """False if there is damage before the byte ``until``, where FFmpeg has found a packet; by default, anywhere.

        To be called for every packet, in order.
        """
        while not self._is_damaged and not self._is_ended and (until is None or self._position < until):
            self._step()
        return not self._is_damaged

    @abstractmethod
    def _step(self) -> None:
        """Go to the next piece."""

    def _read(self, count: int, at: int) -> bytes:
        return os.pread(self._file.fileno(), count, at)
