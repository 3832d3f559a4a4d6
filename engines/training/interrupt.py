"""Ctrl-C between two steps: a step that was begun is finished, so that what is saved is a whole one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """In a ``with``: ``asked`` from the first Ctrl-C on. The second interrupts at once, unless there are ``others``,
    for torchrun hands each on twice."""

    def __init__(self, *, others: bool = False) -> None:
        self.asked = False
        self._others = others
        self._before: Any = None
        self._listens = False

    def __enter__(self) -> Interrupt:
        # Python lets the main thread alone handle signals.
        self._listens = threading.current_thread() is threading.main_thread()
        if self._listens:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python passes them
        if self.asked and not self._others:
            raise KeyboardInterrupt
        self.asked = True
