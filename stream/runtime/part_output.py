"""Which part a thread works for, in a process that runs several: what it logs and writes to stderr is that part's.

A thread that a part starts counts as the part's if it runs in a copy of its context (:func:`contextvars.copy_context`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TextIO

PART_STDERR: ContextVar[TextIO | None] = ContextVar("PART_STDERR", default=None)
"""The stderr of the part that this thread works for; None in a process that runs one part."""


class PartStderr:
    """A text stream that writes to the stderr of the thread's part; to ``stream`` in a thread of no part."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._current.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self._current.writelines(lines)

    @property
    def _current(self) -> TextIO:
        return PART_STDERR.get() or self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current, name)
