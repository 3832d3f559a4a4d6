"""The pictures of a window, also at the ends of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engines.datasets.clips import Clip, Source
from engines.errors import EngineError

Border = Literal["key-frame", "fami-released"]
"""``key-frame``: a neighbour beyond the clip is replaced by the key frame (DCPose, FaSRnet, IMAPose).
``fami-released``: as in FAMI-Pose's code, [t-1, t] for a missing t-2, [t+1, t+1] for a missing t+2."""


def window_numbers(key: int, offsets: Sequence[int], span: tuple[int, int], border: Border = "key-frame") -> list[int]:
    """The numbers of the pictures of the window around ``key``, oldest first; ``span`` is the clip's first and last.

    >>> window_numbers(1, (-2, -1, 0, 1, 2), (0, 2))
    [1, 0, 1, 2, 1]
    >>> window_numbers(1, (-2, -1, 0, 1, 2), (0, 2), "fami-released")
    [0, 1, 1, 2, 2]
    """
    if border == "key-frame":
        return [key + offset if _within(key + offset, span) else key for offset in offsets]
    past, future = ([offset for offset in offsets if offset < 0], [offset for offset in offsets if offset > 0])
    before = [key + offset for offset in past if _within(key + offset, span)]
    after = [key + offset for offset in future if _within(key + offset, span)]
    before += [key] * (len(past) - len(before))
    after += [after[-1] if after else key] * (len(future) - len(after))
    return [*before, *(key for offset in offsets if offset == 0), *after]


def window_sources(clip: Clip, key: int, offsets: Sequence[int], border: Border = "key-frame") -> list[Source]:
    """The sources of a window's pictures. Raises :class:`EngineError` for a gap within the clip."""
    numbers = window_numbers(key, offsets, clip.span, border)
    missing = [number for number in numbers if number not in clip.pictures]
    if missing:
        raise EngineError(
            f"{clip.name}: frame {missing[0]}, a neighbour of frame {key}, is missing between {clip.span[0]} and "
            f"{clip.span[1]}; unpack the data set's pictures again"
        )
    return [clip.pictures[number] for number in numbers]


def _within(number: int, span: tuple[int, int]) -> bool:
    return span[0] <= number <= span[1]
