"""Handling of the signals that ask a process to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.02


@contextmanager
def handle_signals(on_signal: Callable[[int], None] | None = None) -> Iterator[list[int]]:
    """Yield the list of the SIGINT, SIGTERM and SIGHUP received, oldest first; for the main thread.

    ``on_signal`` is called at each, with the number of signals so far.
    """
    received: list[int] = []

    def handler(number: int, _frame: object) -> None:
        received.append(number)
        if on_signal is not None:
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
            try:
                yield
            finally:
                interrupts.close()
    finally:
        sys.unraisablehook = former


class _Interrupts:
    """Counts signals. ``_is_pending`` while an interrupt that Python has dropped is to be raised again, by a signal of
    our own, ``_is_sent`` until that one is handled."""

    def __init__(self) -> None:
        self._count = 0
        self._is_pending = self._is_sent = self._is_closed = False
        self._sending = threading.Lock()
        self._former = sys.unraisablehook

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_closed and self._is_sent:
            self._is_sent = False
            return
        if not self._is_pending:
            self._count += 1
        if self._count > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(signal.Signals(number))
        self._is_sent = False
        if _is_in(frame, _Interrupts.on_unraisable.__code__):  # what is raised in the hook is dropped too
            self._raise_again()
            return
        self._is_pending = False
        raise KeyboardInterrupt

    def on_unraisable(self, dropped: UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            self._raise_again()
        else:
            self._former(dropped)

    def close(self) -> None:
        """Send no more signals, and ignore one that was sent."""
        with self._sending:
            self._is_closed = True

    def _raise_again(self) -> None:
        if not self._is_pending:
            self._is_pending = True
            threading.Thread(target=self._send, name="interrupt", daemon=True).start()

    def _send(self) -> None:
        """Send a signal, and another one if the first was handled where nothing can be raised."""
        while self._is_wanted():
            time.sleep(_AGAIN_S)
            with self._sending:
                if self._is_wanted() and not self._is_sent:
                    self._is_sent = True
                    os.kill(os.getpid(), signal.SIGINT)

    def _is_wanted(self) -> bool:
        return self._is_pending and not self._is_closed


def _is_in(frame: FrameType | None, code: CodeType) -> bool:
    """True if ``frame`` or one that has called it runs ``code``."""
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
