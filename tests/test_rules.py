"""The rules of the house, executed: style, strict types, who imports whom, and names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # all types are checked anew: a minute, or a few on a busy machine

RULES = {
    "style": ("-m", "ruff", "check", "."),
    "form": ("-m", "ruff", "format", "--check", "."),
    "types": ("-m", "mypy"),
    "imports": ("-c", "from importlinter.cli import lint_imports_command as main; main()"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_source_keeps_the_rule_of(rule: str, root: Path) -> None:
    answer = subprocess.run([sys.executable, *RULES[rule]], cwd=root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"


# Without these a rule that silently checks nothing would look kept.
BROKEN = {
    "style": ("style", "breach.py", "import os\n", "F401"),
    "types": ("types", "breach.py", "def f(x):\n    return x\n", "no-untyped-def"),
    "types of the tests": ("types", "tests/test_breach.py", "def test_it() -> None:\n    len(5)\n", "arg-type"),
}


@pytest.mark.parametrize("breach", BROKEN)
def test_a_breach_is_found_of_the_rule_of(breach: str, root: Path, tmp_path: Path) -> None:
    rule, name, text, expected = BROKEN[breach]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    toml, cache = str(root / "pyproject.toml"), str(root / ".mypy_cache")
    # The cache is that of the whole check, which has read the types of the libraries.
    arguments = {"style": ("check", "--config", toml), "types": ("--config-file", toml, "--cache-dir", cache)}[rule]
    command = [sys.executable, *RULES[rule][:2], *arguments, name]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert expected in answer.stdout


def test_types_are_checked_in_every_folder_with_python(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]
    tracked = subprocess.run(["git", "ls-files", "*/*.py"], cwd=root, capture_output=True, text=True, check=True).stdout
    folders = {Path(line).parts[0] for line in tracked.splitlines()}
    assert {"posestream", "tests"} <= folders
    assert folders <= set(settings["packages"])


def test_no_file_is_called_like_a_library(root: Path) -> None:
    folders = ("posestream", "stream", "engines", "export")
    named = {path.stem for folder in folders for path in (root / folder).rglob("*.py")}
    assert not named & {"torch", "onnx", "tensorrt", "zmq", "numpy", "cv2"}


def test_running_a_line_imports_neither_torch_nor_what_it_does_not_name() -> None:
    script = (
        "import sys; from stream.pipeline.launch import parse_launch;"
        "parse_launch('filesrc location=x.mp4 ! detect ! track ! queue ! window ! pose ! fakesink');"
        "print(*sorted({'torch', 'onnx', 'tensorrt', 'zmq'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_help_and_a_part_begin_at_once_since_nothing_heavy_is_imported_for_them() -> None:
    script = (
        "import sys; from stream.__main__ import execute; execute(['--help']);"
        "print(*sorted({'numpy', 'cv2', 'av', 'onnxruntime', 'zmq', 'trackers'} & set(sys.modules)), file=sys.stderr);"
        "import stream.runtime.runner;"
        "print(*sorted({'cv2', 'av', 'onnxruntime', 'trackers'} & set(sys.modules)), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "posestream" in answer.stdout
    assert answer.stderr.strip() == ""
