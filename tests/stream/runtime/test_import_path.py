"""Folders of the user's never shadow posestream's packages, and the user's own elements are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINE = "testsrc num_frames=3 people=1 width=64 height=64 ! queue ! detect model=truth ! {}"
BLUR = """
from dataclasses import dataclass
from stream import Caps, Transform
from mine.marks import MARK

@dataclass
class Blur(Transform):
    sink = src = Caps("people/boxes")

    def process(self, item):
        print(MARK, flush=True)
        yield item
"""


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an element of the user's, and packages with names of ours that fail when they are imported."""
    shadow(tmp_path, "engines", "configs", "export")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "marks.py").write_text("MARK = 'blurred'")
    (tmp_path / "mine" / "blur.py").write_text(BLUR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shadow(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('the folder {name} was imported')")


def launch(python_path: list[Path], line: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What the installed command does, which has no working directory on its path."""
    command = [sys.executable, "-P", "-m", "stream", "launch", line, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_folders_in_the_working_directory_do_not_shadow_packages(root: Path, working_directory: Path) -> None:
    shadow(working_directory, "stream", "numpy", "queue")
    done = launch([root], LINE.format("window ! pose ! fakesink"))
    assert (done.returncode, done.stderr) == (0, "")


def test_folders_on_the_python_path_do_not_shadow_packages(root: Path, working_directory: Path) -> None:
    done = launch([working_directory, root], LINE.format("window ! pose ! fakesink"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", [(), ("--in-process",)], ids=["in parts", "in one process"])
def test_an_element_in_the_working_directory_is_found(
    options: tuple[str, ...], root: Path, working_directory: Path
) -> None:
    done = launch([root], LINE.format("mine.blur ! fakesink"), *options)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "blurred\n" * 3)
