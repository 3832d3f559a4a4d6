"""Words for people, in messages and summaries."""

from __future__ import annotations


def count(number: int, one: str, many: str = "") -> str:
    """A number of things; ``many`` is ``one`` with an s unless it is given.

    >>> count(1, "frame"), count(1200, "frame"), count(2, "person", "people")
    ('1 frame', '1,200 frames', '2 people')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
