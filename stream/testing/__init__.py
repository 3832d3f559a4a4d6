"""The judges: every interface of ``stream`` ships the tests that an implementation of it has to pass.

:class:`Harness` treats an element as a black box (push, pull, injectable clock); :func:`check_element` says whether an
element keeps its contract; ``check_transport`` says it of a link. Nothing here is imported when a line runs.
"""

from stream.testing.elements import check_element
from stream.testing.harness import Clock, Harness
from stream.testing.items import (
    items_for,
    make_frame,
    make_people,
    make_poses,
    make_window,
    people_items,
    with_nobody,
)

__all__ = [
    "Clock",
    "Harness",
    "check_element",
    "items_for",
    "make_frame",
    "make_people",
    "make_poses",
    "make_window",
    "people_items",
    "with_nobody",
]
