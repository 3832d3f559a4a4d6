"""Folders that are filled once: by one of many that ask, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.caches import fill_once

# Both processes wait for each other before they ask, and filling takes longer than the two are apart.
PREPARER = """
import sys, time
from pathlib import Path
from tests.caches import fill_once
folder, name, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def fill(part):
    print("filled", end=" ")
    for number in range(20):
        (part / f"{number}").touch()
        time.sleep(0.01)
folder.with_name(name).touch()
while not folder.with_name(other).exists():
    time.sleep(0.001)
fill_once(folder, fill)
print(sorted(int(path.name) for path in folder.iterdir()) == list(range(20)))
"""


def test_of_two_processes_that_ask_at_once_one_fills_the_folder(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    command = [sys.executable, "-c", PREPARER, str(folder)]
    preparers = [
        subprocess.Popen([*command, *names], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for names in (("a", "b"), ("b", "a"))
    ]
    answers = [preparer.communicate(timeout=60) for preparer in preparers]
    assert sorted(answers) == [("True\n", ""), ("filled True\n", "")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".prepared.lock", "a", "b", "prepared"]


def test_a_folder_is_filled_only_when_it_does_not_exist(tmp_path: Path) -> None:
    filled: list[Path] = []
    for _ in range(2):
        fill_once(tmp_path / "prepared", filled.append)
    assert len(filled) == 1


def test_a_preparation_that_fails_leaves_nothing_behind_and_is_tried_again(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        (part / "half").touch()
        raise ConnectionError("the download broke off")

    with pytest.raises(ConnectionError, match="broke off"):
        fill_once(tmp_path / "prepared", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".prepared.lock"]
    assert list(fill_once(tmp_path / "prepared", lambda part: (part / "whole").touch()).iterdir())
