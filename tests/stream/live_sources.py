"""Helpers for tests of live sources."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import pytest

from stream.capture.live_source import LiveSource
from stream.errors import SourceError
from stream.messages import Frame

# Timeout for conditions that take a second or two on an idle machine and longer on a busy one.
TIMEOUT_S = 60.0


def until(source: LiveSource, is_done: Callable[[list[Frame]], bool]) -> list[Frame]:
    """Collect frames until ``is_done``; fails if that does not happen."""
    frames: list[Frame] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    with source, closing(source.frames()) as items:  # type: ignore[type-var]
        for frame in items:
            frames += [] if frame is None else [frame]
            if is_done(frames):
                return frames
            assert time.monotonic() < deadline_s, f"only {len(frames)} frames within {TIMEOUT_S} s"
    raise AssertionError("the source ended")


def count(wanted: int) -> Callable[[list[Frame]], bool]:
    """A condition for :func:`until`: so many frames have come."""
    return lambda frames: len(frames) >= wanted


def catch_error(source: LiveSource) -> str:
    """The error that ends a source, in one line."""
    with pytest.raises(SourceError) as caught:
        until(source, count(10**9))
    assert "\n" not in str(caught.value)
    return str(caught.value)
