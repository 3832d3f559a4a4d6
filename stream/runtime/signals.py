"""Handling of the signals that ask a process to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.02


@contextmanager
def handle_signals(on_signal: Callable[[int], None]) -> Iterator[list[int]]:
    """Call ``on_signal`` with the number of signals so far, at each SIGINT, SIGTERM and SIGHUP; for the main thread.

    Yields the list of the signals received, oldest first.
    """
    received: list[int] = []

    def handler(number: int, _frame: object) -> None:
        received.append(number)
        on_signal(len(received))

    with _handled_by(handler):
        yield received


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at the first SIGINT, SIGTERM or SIGHUP, so that files are closed and cameras are
    released; end the process at a second one. For the main thread.

    Python drops an exception that is raised in a destructor or callback; this one is raised again.
    """
    interrupts, former = _Interrupts(), sys.unraisablehook
    sys.unraisablehook = interrupts.on_unraisable
    try:
        with _handled_by(interrupts.on_signal):
            yield
    finally:
        sys.unraisablehook = former


class _Interrupts:
    """Counts signals; ``_is_repeated`` when the next one is ours."""

    def __init__(self) -> None:
        self._count = 0
        self._is_repeated = False
        self._former = sys.unraisablehook

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._count += not self._is_repeated
        self._is_repeated = False
        if self._count > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(signal.Signals(number))
        raise KeyboardInterrupt

    def on_unraisable(self, dropped: UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            self._former(dropped)
            return
        self._is_repeated = True
        timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
