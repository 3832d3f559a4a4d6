"""Conformance tests: for every interface of ``stream``, the tests that an implementation has to pass.

:class:`Harness` runs an element as a black box (push, pull, injectable clock). :func:`check_element` checks an element
against its contract, ``check_transport`` a link. Running a pipeline imports nothing of this package.
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
    without_people,
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
    "without_people",
]
