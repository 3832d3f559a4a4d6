"""Messages for the mistakes of a beginner: where to look, and what was probably meant."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.__main__ import execute
from stream.cli.top import Board
from stream.runtime.run_dir import RunDirectory

Capture = pytest.CaptureFixture[str]
YOLOX = "model 'yolox-nano' is not on this machine"
LINE = "testsrc ! detect ! track ! window"


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no network in the cache."""
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["validate", "--fast", "x"], "; see 'posestream validate --help'", 2),
        (["eval", "coco", "--fast"], "; see 'posestream eval coco --help'", 2),
        (["lunch"], "; see 'posestream --help'", 2),
        (["pull", "rtmpos"], "pull rtmpos: no network has this name; did you mean 'rtmo-s' or", 1),
        (["pull", "xyz"], "pull xyz: no network has this name; 'posestream models' lists all", 1),
        (["pull", "fami-small"], "pull fami-small: it ships with posestream, so there is nothing to download", 1),
    ],
)
def test_a_mistake_is_one_line_with_the_next_step(capsys: Capture, arguments: list[str], words: str, code: int) -> None:
    assert execute(arguments) == code
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["validate", "testsrc ! detect model=yolox-nano ! fakesink"], f"posestream: detect: {YOLOX}"),
        (["launch", "testsrc ! detect model=yolox-nano ! queue ! fakesink"], f"posestream: {YOLOX}, and POSESTREAM_"),
        (["validate", f"{LINE} ! pose model=rtmpose-s ! fakesink"], "pose: model 'rtmpose-s'"),
        (["launch", "rtspsrc url=rtsp://h/a ! detect ! fakesink"], f"posestream: {YOLOX}, and POSESTREAM_"),
        (["estimate", "photo.png", "--model", "hrnet-small"], f"posestream: {YOLOX}, and POSESTREAM_"),
    ],
)  # fmt: skip
def test_a_missing_network_is_said_once_before_anything_starts(
    capsys: Capture, arguments: list[str], words: str
) -> None:
    cv2.imwrite("photo.png", np.zeros((48, 64, 3), np.uint8))
    assert execute(arguments) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("not on this machine") == 1
    assert "posestream pull" in printed
    assert printed.count("\n") == 1


def test_a_line_whose_networks_will_be_fetched_is_valid(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSESTREAM_OFFLINE")
    line = "rtspsrc url=rtsp://h/a ! detect ! track ! window ! pose ! fakesink"
    assert execute(["validate", line]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first == (
        "to be fetched when the line starts: yolox-nano (3.7 MB, Apache-2.0, from raw.githubusercontent.com)"
    )
    assert second.startswith("to be fetched when the line starts: tinypose-256x192 (4.1 MB, Apache-2.0, converted by")
    assert execute(["validate", line, "--offline"]) == 1
    assert "get it with 'posestream pull people'" in capsys.readouterr().err
    assert "POSESTREAM_OFFLINE" not in os.environ


def test_the_truth_of_a_drawn_source_needs_no_network(capsys: Capture) -> None:
    assert execute(["validate", "testsrc ! detect ! fakesink"]) == 0


def test_an_element_of_the_user_is_suggested_and_its_mistakes_have_their_line(capsys: Capture) -> None:
    Path("mine_x").mkdir()
    Path("mine_x/mirror.py").write_text("")
    Path("mine_x/broken.py").write_text("import os\n\ndef f(:\n")
    for name, words in {
        "mine_x.miror": "no element 'mine_x.miror'; did you mean 'mine_x.mirror'?",
        "mine_y.mirror": "no element 'mine_y.mirror'; did you mean 'mine_x.mirror'?",
        "mine_x.broken": "element 'mine_x.broken' cannot be loaded: ",
    }.items():
        assert execute(["inspect", name]) == 1
        printed = capsys.readouterr().err
        assert words in printed
        assert printed.count("\n") == 1
    assert f"{Path('mine_x/broken.py').resolve()} line 3: invalid syntax" in printed


def test_top_names_the_line_it_shows_where_several_run(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tempfile.TemporaryDirectory(prefix="top-", dir="/tmp")  # a socket's path is short
    monkeypatch.setenv("POSESTREAM_RUN_DIR", folder.name)
    monkeypatch.setattr(Board, "wait_for_all", lambda self: None)
    first = RunDirectory(title="testsrc ! fakesink")
    second = RunDirectory(title="rtspsrc location=rtsp://me:hidden@hall/1 ! fakesink")
    try:
        for run in (first, second):
            (run.path / "line.yaml").write_text("line: [testsrc, fakesink]")
        assert execute(["top", "--once"]) == 0
        printed = " ".join(capsys.readouterr().out.split())
    finally:
        first.close()
        second.close()
        folder.cleanup()
    assert "the newest of 2 lines: rtspsrc location=rtsp://***@hall/1 ! fakesink" in printed
    assert f"--run-dir {first.path}: testsrc ! fakesink" in printed
