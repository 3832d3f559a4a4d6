"""Where the cache is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engines.spec.cache import CACHE_VARIABLE, cache_folder


def test_the_variable_overrides_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG convention is Linux's")
@pytest.mark.parametrize(
    ("xdg_cache_home", "expected"), [("/x", Path("/x/posestream")), (None, Path.home() / ".cache" / "posestream")]
)
def test_on_linux_it_follows_xdg(monkeypatch: pytest.MonkeyPatch, xdg_cache_home: str | None, expected: Path) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    if xdg_cache_home is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg_cache_home)
    assert cache_folder() == expected
