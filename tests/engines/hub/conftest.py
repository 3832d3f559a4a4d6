"""A server of weights, and an entry of the catalogue that points to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.spec import cache
from tests.engines.hub.shelf import Shelf, serve, write


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with serve() as shelf:
        yield shelf


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> Path:
    """A catalogue entry of our own that points to the shelf, and a cache of our own."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(cache.OFFLINE_VARIABLE)
    path = tmp_path / "net.yaml"
    write(path, shelf.address)
    return path
