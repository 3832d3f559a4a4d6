"""A transform that leaves the media type as it is: ``tests.toys.blur``."""

from __future__ import annotations

from collections.abc import Iterator

from stream.caps import Caps
from stream.element import Transform
from stream.messages import Window


class Thin(Transform):
    """Passes on windows; no property, so no dataclass either."""

    sink = Caps("people/window")
    src = Caps("people/window")

    def process(self, item: Window) -> Iterator[Window]:
        yield item
