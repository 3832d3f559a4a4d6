"""Runs of a network side by side, each on one thread, where its backend allows it.

Threads that share the operators of one run wait for each other after every operator, and do so either spinning, which
takes the cores from the rest of a line, or asleep, which gains nothing. Runs that have no part in each other need no
such waits: with half of the people each, two runs take little more than half of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["SideBySide"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SideBySide:
    """Up to ``count`` threads, the caller's among them; the others sleep while there is nothing to do."""

    def __init__(self) -> None:
        self._count = 1
        self._helpers: ThreadPoolExecutor | None = None

    def open(self, count: int) -> None:
        """Start with ``count`` threads; does nothing if already open."""
        if self._helpers is None and count > 1:
            self._count, self._helpers = count, ThreadPoolExecutor(count - 1, "network")

    def close(self) -> None:
        """End the threads; does nothing if already closed."""
        if self._helpers is not None:
            self._helpers.shutdown()
            self._count, self._helpers = 1, None

    def map(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """``work(item)`` for each of ``items``, in their order. Raises what the first of them that failed raised.

        Every thread takes the next item when it is free. So one that gets no core, because the machine is busy, holds
        up nothing: the others take its share.
        """
        given = list(items)
        waiting = deque(range(len(given)))
        outcomes: list[Future[_Result]] = [Future() for _ in given]
        helping = self._call_helpers(lambda: _work_off(work, given, waiting, outcomes), len(given))
        _work_off(work, given, waiting, outcomes)
        wait([helper for helper in helping if not helper.cancel()])
        return [outcome.result() for outcome in outcomes]

    def _call_helpers(self, task: Callable[[], None], items: int) -> list[Future[None]]:
        if self._helpers is None:
            return []
        return [self._helpers.submit(task) for _ in range(min(self._count, items) - 1)]


def _work_off(
    work: Callable[[_Item], _Result], items: Sequence[_Item], waiting: deque[int], outcomes: Sequence[Future[_Result]]
) -> None:
    while True:
        try:
            index = waiting.popleft()  # atomic
        except IndexError:
            return
        try:
            outcomes[index].set_result(work(items[index]))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            outcomes[index].set_exception(error)
