"""The next batches are made while the network learns from this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from engines.training.batches import Batch


class Ahead:
    """``make(step)``, with the step after it begun meanwhile, up to step ``end``; to be used in a ``with``.

    ``make`` must give the same whenever it is called, and from any thread.
    """

    def __init__(self, make: Callable[[int], Batch], end: int) -> None:
        self._make, self._end = make, end
        self._begun: dict[int, Future[Batch]] = {}
        self._maker = ThreadPoolExecutor(1, "ahead")

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._maker.shutdown(wait=True, cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """The batch of a step. Raises what making it raised."""
        for number in range(step, min(step + 2, self._end)):
            if number not in self._begun:
                self._begun[number] = self._maker.submit(self._make, number)
        return self._begun.pop(step).result()
