"""What a network learned from, and what that means for the pictures it is shown.

>>> describe_mismatch("mine", DRAWN, is_drawn=True)
''
>>> print(describe_mismatch("mine", DRAWN, is_drawn=False).partition(", ")[0])
model 'mine' was trained on drawn people only
"""

from __future__ import annotations

DRAWN = "drawn people"
"""The people that testsrc draws, and no others."""
REAL = "real people"
"""Photographs or videos of people."""
NOTHING = "nothing: random weights"
"""An export for tests."""


def describe_mismatch(name: str, trained_on: str, *, is_drawn: bool) -> str:
    """The warning for a network ``name`` that is shown pictures it has not learned from; empty if there is none.

    ``trained_on`` is that of its Signature, empty if unknown; ``is_drawn`` says that testsrc drew the pictures.
    """
    if trained_on == NOTHING:
        return (
            f"model {name!r} was exported with random weights, what it finds is meaningless; "
            "train it, and export it with --weights"
        )
    if trained_on == DRAWN and not is_drawn:
        return (
            f"model {name!r} was trained on drawn people only, what it finds of real people is wrong; "
            "name another with model=, or leave model out"
        )
    return ""
