"""``posestream export`` as a user types it: its page, and one line for everything that is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from export import cli
from stream.__main__ import execute

Capture = pytest.CaptureFixture[str]

WRONG: dict[str, tuple[list[str], str]] = {
    "unknown network": (["fami-w48"], "network 'fami-w48' is not known; did you mean "),
    "weights that run": (
        ["rtmpose-s"],
        "network 'rtmpose-s' is ready-made weights for pose; 'engines.load' opens those",
    ),
    "no checkpoint there": (
        ["hrnet-compact-256x192", "--weights", "gone.pth"],
        "checkpoint 'gone.pth': there is no such file",
    ),
    "an opset too old": (["hrnet-compact-256x192", "--opset", "18"], "--opset 18: deformable convolution exports "),
    "both kinds of weights": (
        ["hrnet-compact-256x192", "--weights", "a.pth", "--random-weights"],
        "--random-weights and --weights a.pth exclude each other; give one of them",
    ),
    "a layout of nothing": (
        ["hrnet-compact-256x192", "--layout", "hrnet"],
        "--layout hrnet needs a checkpoint; give it with --weights FILE",
    ),
    "no frames there": (
        ["hrnet-compact-256x192", "--random-weights", "--frames", "gone.mp4"],
        "--frames gone.mp4: there is no such video or folder",
    ),
    "something else there": (
        ["hrnet-compact-256x192", "--random-weights", "--out", "."],
        "export into '.': it exists and is not an export (no manifest.json); choose another with --out",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_export_gets_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    words, expected = WRONG[case]
    assert execute(["export", *words]) == 1
    result = capsys.readouterr().err.removeprefix("hrnet-compact-256x192: random weights, for testing only\n")
    assert result.startswith(f"posestream: {expected}")
    assert result.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_its_extra_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def absent(name: str) -> object:
        return None if name in ("torch", "onnx") else importlib.util.find_spec(name)

    monkeypatch.setattr(cli, "find_spec", absent)
    assert execute(["export", "hrnet-compact-256x192"]) == 1
    assert capsys.readouterr().err == (
        "posestream: posestream export needs torch, onnx; in a clone of posestream: pip install '.[torch]'\n"
    )


def test_the_command_explains_itself_with_examples(capsys: Capture) -> None:
    assert execute(["export", "--help"]) == 0
    result = " ".join(capsys.readouterr().out.split())
    assert "posestream export fami-w48-384x288 --weights my.pth --to tensorrt --precision fp16" in result
    assert "pose model=FOLDER" in result
