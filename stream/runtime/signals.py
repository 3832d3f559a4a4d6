"""Handling of the signals that ask a process to end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handle_signals(on_signal: Callable[[int], None]) -> Iterator[list[int]]:
    """Call ``on_signal`` with the number of signals so far, at each SIGINT, SIGTERM and SIGHUP; for the main thread.

    Yields the list of the signals received, oldest first.
    """
    received: list[int] = []

    def handler(number: int, _frame: object) -> None:
        received.append(number)
        on_signal(len(received))

    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)
