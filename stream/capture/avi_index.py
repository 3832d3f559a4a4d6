"""Compares the packets of an AVI with its index: where they are damaged, FFmpeg goes on at the next one without an
error, and the frames in between are lost."""

from __future__ import annotations

from typing import Any

_HEAD_BYTES = 8
"""A chunk begins with its name and size; FFmpeg's index has where it begins, and a packet where its content does."""


class AviIndex:
    """The packets of a video ``stream`` that was just opened, by the index at the end of its file.

    An entry that is damaged itself is no damage here, and neither is an index that is missing: the frames are there.
    """

    def __init__(self, stream: Any) -> None:
        begins = [entry.pos for entry in stream.index_entries if entry.size]  # an empty one repeats the picture
        self._numbers = {begin + _HEAD_BYTES: number for number, begin in enumerate(begins)}
        self._next = 0
        self._is_damaged = False
        self.is_reported = False

    def close(self) -> None:
        """Nothing is open."""

    def is_sound(self, until: int | None = None) -> bool:
        """False if a packet is missing before the next one, which FFmpeg has found at the byte ``until``; None at the
        end of the file."""
        number = len(self._numbers) if until is None else self._numbers.get(until, self._next)
        self._is_damaged |= number > self._next
        self._next = number + (until is not None)
        return not self._is_damaged
