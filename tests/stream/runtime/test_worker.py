"""A part as a process: what it writes to stderr, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.runtime import worker
from stream.runtime.run_dir import claim
from stream.runtime.worker import CANNOT_START, FAILED

WORKER = """
import os, signal, sys
from stream.runtime.worker import main
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as its supervisor starts it
code = main([*sys.argv[1:], "--parent", str(os.getppid()), "--lifeline", str(os.pipe()[0])])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT).name)
sys.exit(code)
"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures, the second of which cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    (folder / "1.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize(
    ("line", "options", "speaker"),
    [
        ("filesrc location={} damaged=warn ! fakesink", (), "posestream"),
        ("filesrc location={} damaged=warn ! queue ! fakesink", ("--in-process",), "posestream"),
        ("filesrc location={} damaged=warn ! queue ! fakesink", (), "filesrc"),
    ],
    ids=["without a queue", "with a queue, in one process", "with a queue"],
)
def test_a_warning_reaches_stderr_once(line: str, options: tuple[str, ...], speaker: str, pictures: Path) -> None:
    command = [sys.executable, "-m", "stream", "launch", line.format(pictures), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    warning = f"{speaker}: warning: '{pictures}/1.png' "
    assert [text for text in done.stderr.splitlines() if text.startswith(warning)] == done.stderr.splitlines()
    assert done.stderr.count("1.png") == 1


def test_a_part_that_cannot_start_says_why_in_one_line_and_by_its_exit_code(tmp_path: Path) -> None:
    line = f"line: [filesrc: {{location: {tmp_path}/none.mp4}}, queue, fakesink]"
    where = ["--part", "filesrc", "--run-dir", str(claim(tmp_path / "run"))]
    done = subprocess.run([sys.executable, "-c", WORKER, *where], input=line, capture_output=True, text=True)
    assert done.returncode == CANNOT_START
    assert done.stderr.startswith(f"filesrc: there is no '{tmp_path}/none.mp4'")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "set() SIG_IGN\n", "what the part starts would inherit that Ctrl-C is blocked"


def test_a_part_without_memory_for_a_thread_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(parent: int, lifeline: int) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker, "die_with_parent", refuse)
    assert worker.main(["--part", "detect", "--run-dir", "/nowhere", "--parent", "1", "--lifeline", "9"]) == FAILED
    assert capsys.readouterr().err == "detect: it cannot be started: can't start new thread\n"
