"""Pacing of sources that replay frames in real time, as a camera would deliver them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from stream.element import Context

_MAX_SLEEP_S = 0.25
"""The longest sleep without a yield: a source must yield at least twice a second."""


def sleep_until(until_ns: int) -> Iterator[None]:
    """Sleep until a time of the monotonic clock, and yield None in between if that is long."""
    while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
        time.sleep(min(left_s, _MAX_SLEEP_S))
        if left_s > _MAX_SLEEP_S:
            yield None


def last_seq(context: Context) -> int:
    """The ``seq`` stored before a restart, or -1: a restarted camera does not repeat its frames."""
    return context.memory.get("seq", -1) if context.incarnation else -1
