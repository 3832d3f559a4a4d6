"""Every file that a user can name, broken in every way that files are: one line that names it, exit code 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream.__main__ import execute

Capture = pytest.CaptureFixture[str]


def _bomb(path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
    path.write_text("\n".join([*lines, "line: *a11"]))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


WAYS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "a folder": lambda path: path.mkdir(),
    "huge": _sparse,
    "deep": lambda path: path.write_text("[" * 200_000),
    "aliases": _bomb,
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
    "NUL": lambda path: path.write_bytes(b"\0" * 64),
    "UTF-16": lambda path: path.write_bytes('{"a": 1}'.encode("utf-16")),
    "a long number": lambda path: path.write_text('{"epochs": ' + "9" * 6000 + "}"),
    "NaN": lambda path: path.write_text('{"rate": NaN'),
    "a list": lambda path: path.write_text("[1]"),
    "text": lambda path: path.write_text("hello"),
    "cut off": lambda path: path.write_text('{"images": [{"id": 1},'),
}

LINE = "testsrc num_frames=1 ! detect"

# What is typed with the bad file for BAD, and its name.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "a line": (["validate", "BAD"], "bad.yaml"),
    "a line that is run": (["run", "BAD"], "bad.yaml"),
    "a recipe": (["eval", "model", "hrnet-small", "--recipe", "BAD", "--root", "."], "bad.yaml"),
    "a network of the catalogue": (["validate", f"{LINE} ! track ! window ! pose model=BAD ! fakesink"], "bad.yaml"),
    "the manifest of an export": (["validate", f"{LINE} ! window ! pose model=DIR ! fakesink"], "manifest.json"),
    "a signature": (["validate", f"{LINE} ! window ! pose model=ONNX ! fakesink"], "net.json"),
    "a detector's signature": (["validate", "testsrc num_frames=1 ! detect model=ONNX ! fakesink"], "net.json"),
    "ground truth of COCO": (["eval", "coco", "BAD", "BAD"], "bad.json"),
    "ground truth of PoseTrack": (["eval", "posetrack", "BAD", "BAD"], "bad.json"),
    "a recording": (["replay", "BAD"], "bad.mcap"),
    "a key": (["subscribe", "tcp://127.0.0.1:1", "--server-key", "BAD"], "bad.key"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, capsys: Capture, command: str, way: str) -> None:
    if "of COCO" in command:
        pytest.importorskip("pycocotools")
    arguments, name = COMMANDS[command]
    bad = tmp_path / name
    (tmp_path / "net.onnx").write_bytes(b"")
    if way == "a folder" and name in ("manifest.json", "net.json"):
        pytest.skip("a folder of that name is no file of the model, which is searched for elsewhere")
    WAYS[way](bad)
    names = {"BAD": str(bad), "DIR": str(tmp_path), "ONNX": str(tmp_path / "net.onnx")}
    typed = [_spelled(word, names) for word in arguments]
    assert execute(typed) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert name in printed.err
    assert "a fault of posestream" not in printed.err


def _spelled(word: str, names: dict[str, str]) -> str:
    for name, path in names.items():
        word = word.replace(name, path)
    return word
