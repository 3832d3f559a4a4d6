"""Windows where a clip begins, ends, or has a hole."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.datasets.clips import Clip, PictureFile
from engines.datasets.windows import Border, window_numbers, window_sources
from engines.errors import EngineError

FIVE = (-2, -1, 0, 1, 2)


@pytest.mark.parametrize(
    ("key", "border", "numbers"),
    [
        (10, "key-frame", [10, 10, 10, 11, 12]),
        (11, "key-frame", [11, 10, 11, 12, 13]),
        (15, "key-frame", [13, 14, 15, 16, 17]),
        (19, "key-frame", [17, 18, 19, 20, 19]),
        (20, "key-frame", [18, 19, 20, 20, 20]),
        (10, "fami-released", [10, 10, 10, 11, 12]),
        (11, "fami-released", [10, 11, 11, 12, 13]),
        (15, "fami-released", [13, 14, 15, 16, 17]),
        (19, "fami-released", [17, 18, 19, 20, 20]),
        (20, "fami-released", [18, 19, 20, 20, 20]),
    ],
)
def test_windows_at_the_ends_of_a_clip_are_those_of_the_papers(key: int, border: Border, numbers: list[int]) -> None:
    assert window_numbers(key, FIVE, (10, 20), border) == numbers


def test_a_causal_window_has_the_key_frame_last() -> None:
    assert window_numbers(10, (-2, -1, 0), (10, 20), "fami-released") == [10, 10, 10]
    assert window_numbers(11, (-2, -1, 0), (10, 20)) == [11, 10, 11]


def test_a_still_picture_is_repeated_in_its_window() -> None:
    still = Clip("still", "coco17", {0: PictureFile(Path("a.jpg"))}, ())
    assert window_sources(still, 0, FIVE) == [PictureFile(Path("a.jpg"))] * 5


def test_a_gap_in_a_clip_is_an_error() -> None:
    clip = Clip("walk", "coco17", {n: PictureFile(Path(f"{n}.jpg")) for n in (0, 1, 2, 4)}, ())
    with pytest.raises(EngineError, match="walk: frame 3, a neighbour of frame 2, is missing between 0 and 4"):
        window_sources(clip, 2, FIVE)
