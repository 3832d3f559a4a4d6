"""An element that only counts: what a progress bar looks at when a line runs in one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from stream.caps import ANY, Caps
from stream.element import Transform

if TYPE_CHECKING:
    from stream.cli.progress import Watch


@dataclass
class Counter(Transform):
    """Passes everything on and tells a progress bar how many that were."""

    sink = Caps(ANY)
    src = Caps(ANY)

    def __post_init__(self) -> None:
        self.count = 0
        self._watch: Watch | None = None
        self._end = ""

    def telling(self, watch: Watch, end: str) -> Self:
        """The same, telling ``watch`` what reaches ``end``."""
        self._watch, self._end = watch, end
        return self

    def process(self, item: Any) -> Iterator[Any]:
        yield item
        self.count += 1
        if self._watch is not None:
            self._watch.reach(self._end, self.count)
