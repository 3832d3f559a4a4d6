"""How tests are spread over the workers of pytest-xdist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LONGEST


@pytest.mark.parametrize("number", range(6))
def test_one_worker_runs_all_tests_of_a_file(
    number: int, worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Otherwise each worker would make what a fixture makes for its whole file."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "workers-of-a-file"
    folder.mkdir(exist_ok=True)
    (folder / worker_id).touch()
    assert [path.name for path in folder.iterdir()] == [worker_id]


def test_the_files_that_begin_first_exist(root: Path) -> None:
    assert [file for file in LONGEST if not (root / file).is_file()] == []
