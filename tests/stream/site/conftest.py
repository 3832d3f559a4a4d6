"""What tests of a site share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stream.site.bench import Bench, open_bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path / "runs"))
    with open_bench(tmp_path / "site.d") as made:
        yield made
