"""Completion as a shell asks for it: what is offered, and that nothing heavy is imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.hub import catalogue
from engines.skeletons import SKELETONS
from stream.cli import completion
from stream.cli.line_argument import shipped_lines
from stream.registry import element_names


def complete(words: str, shell: str = "bash") -> list[str]:
    """What the shell offers for the last of ``words``, which may be empty."""
    count = len(words.split(" "))
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(count - 1), "_TYPER_COMPLETE_ARGS": words}
    answer = subprocess.run(
        [sys.executable, "-c", "from stream.__main__ import main; main()"],
        env={**os.environ, "_POSESTREAM_COMPLETE": f"complete_{shell}", **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stderr == ""
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("posestream inspect key", ["keypointsink"]),
        ("posestream run two", ["two_cameras"]),
        ("posestream pull yolox-n", ["yolox-nano"]),
        ("posestream compare hrnet-small fami-sm", ["fami-small", "fami-small-128x96"]),
        ("posestream launch files", ["filesrc"]),
        ("posestream launch testsrc ! det", ["detect"]),
        ("posestream validate testsrc ! detect model = yolox-n", ["yolox-nano"]),
        ("posestream eval model fami-small --skeleton coco1", ["coco17"]),
    ],
)
def test_names_are_completed_where_arguments_take_them(words: str, offered: list[str]) -> None:
    assert complete(words) == offered


def test_the_names_are_those_that_the_commands_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tuple(completion.complete_elements("")) == element_names()
    assert tuple(completion.complete_lines("")) == shipped_lines()
    assert set(completion.complete_models("")) == {*catalogue.SHIPPED, *catalogue.list_names()}
    assert set(completion.complete_skeletons("")) == set(SKELETONS)


def test_files_here_are_offered_beside_the_lines_that_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demonstration.yaml").touch()
    assert completion.complete_lines("demo") == ["demo", "demonstration.yaml"]


def test_completion_imports_neither_numpy_nor_the_elements() -> None:
    code = (
        "import sys; from stream.cli import completion as c; c.complete_elements(''), c.complete_models('');"
        "print(sorted({'numpy', 'cv2', 'msgspec', 'yaml', 'stream.elements.detect'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
