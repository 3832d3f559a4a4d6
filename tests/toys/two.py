"""A module that holds two elements, so that neither has a name."""

from __future__ import annotations

from stream.caps import Caps
from stream.element import Sink, Transform


class One(Transform):
    """The first."""

    sink = src = Caps("any")


class Other(Sink):
    """The second."""

    sink = Caps("any")
