"""Which pictures a window is made of where its clip begins or ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engines.datasets.clips import Clip, Source
from engines.errors import EngineError

Border = Literal["key-frame", "fami-released"]
"""``key-frame``: a neighbour that is not there is replaced by the key frame (DCPose, FaSRnet, IMAPose).
``fami-released``: FAMI-Pose's code moves what is there: [t-1, t] for a missing t-2, [t+1, t+1] for a missing t+2."""


def window_numbers(key: int, offsets: Sequence[int], span: tuple[int, int], border: Border = "key-frame") -> list[int]:
    """The number of each picture of the window about ``key``, oldest first; ``span`` is the clip's first and last.

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
    """Where the pictures of a window are. Raises :class:`EngineError` for a gap within the clip."""
    numbers = window_numbers(key, offsets, clip.span, border)
    missing = [number for number in numbers if number not in clip.pictures]
    if missing:
        raise EngineError(
            f"{clip.name}: frame {missing[0]} is missing between {clip.span[0]} and {clip.span[1]}, and frame {key} "
            "wants it as its neighbour; unpack the data set's pictures again"
        )
    return [clip.pictures[number] for number in numbers]


def _within(number: int, span: tuple[int, int]) -> bool:
    return span[0] <= number <= span[1]
