"""Fixtures for tests of sockets and shared memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from stream.transports import shm_segment


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Registers objects to close at the end of the test, and returns them."""
    with ExitStack() as stack:

        def register(end: Any) -> Any:
            stack.callback(end.close)
            return end

        yield register


@pytest.fixture
def run_id() -> Iterator[str]:
    """The name of a run, whose shared memory is removed after the test."""
    name = f"test{uuid.uuid4().hex[:12]}"
    yield name
    shm_segment.unlink_all(name)
