"""Fixtures for tests of sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Registers objects to close at the end of the test, and returns them."""
    with ExitStack() as stack:

        def register(end: Any) -> Any:
            stack.callback(end.close)
            return end

        yield register
