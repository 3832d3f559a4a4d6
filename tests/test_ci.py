"""Continuous integration begins where a newcomer does: with no environment and no cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

KEPT = {"out", "runs"}
"""Ignored by git, but results of the user's own."""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """The files that clean up, and every folder that git ignores, each with something in it."""
    folder = tmp_path / "checkout"
    for name in ("Makefile", ".ci/run", ".gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    for name in (*ignored_folders(folder), "docs/clients/node/node_modules", "engines/spec/__pycache__"):
        (folder / name).mkdir(parents=True)
        (folder / name / "left.over").touch()
    return folder


def ignored_folders(folder: Path) -> list[str]:
    lines = (folder / ".gitignore").read_text().splitlines()
    return [line.strip("/").replace("*", "posestream") for line in lines if line.endswith("/")]


def command(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def folders(folder: Path) -> set[str]:
    """Those that still hold something."""
    return {path.parent.relative_to(folder).as_posix() for path in folder.rglob("left.over")}


def test_everything_is_deleted_before_the_tests_are_run(checkout: Path, tmp_path: Path) -> None:
    home, stubs = tmp_path / "home", tmp_path / "bin"
    (home / ".cache/posestream/models").mkdir(parents=True)
    (home / ".cache/another").mkdir()
    stubs.mkdir()
    command(stubs, "id", "echo 1000")  # nothing is installed
    command(stubs, "make", f'case $1 in clean) exec {shutil.which("make")} clean;; *) echo "make $1" >> calls;; esac')
    answer = subprocess.run(
        [checkout / ".ci/run"],
        env={"HOME": str(home), "PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert (checkout / "calls").read_text() == "make test\nmake test-slow\n"
    assert folders(checkout) == KEPT
    assert [path.name for path in (home / ".cache").iterdir()] == ["another"]
