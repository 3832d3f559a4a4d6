"""``posestream compare``: what it says and how it ends."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.__main__ import execute
from stream.cli.compare import Side, parse_side
from tests.engines import networks

Capture = pytest.CaptureFixture[str]

FEW = ("--windows", "2")


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A network for the same joints that finds bright spots in place of people."""
    path = networks.brightness(tmp_path / "other.onnx")
    path.with_suffix(".json").write_text('{"name": "other", "input_size": [48, 64]}')
    return str(path)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("hrnet-small", Side("hrnet-small", "auto")),
        ("hrnet-small@onnxrt:cpu", Side("hrnet-small", "onnxrt:cpu")),
        ("nets/v@2/fami-fp16", Side("nets/v@2/fami-fp16", "auto")),
        ("me@home.onnx", Side("me@home.onnx", "auto")),
        ("me@home.onnx@torch:compiled+cpu", Side("me@home.onnx", "torch:compiled+cpu")),
        ("hrnet-small@", Side("hrnet-small", "auto")),
    ],
)
def test_what_stands_behind_the_last_at_is_a_backend_unless_it_is_of_a_path(text: str, side: Side) -> None:
    assert parse_side(text) == side


def test_two_backends_that_agree_end_with_0(capsys: Capture) -> None:
    assert execute(["compare", "hrnet-small", "hrnet-small@onnxrt:cpu", *FEW]) == 0
    text = capsys.readouterr().out
    assert "A hrnet-small: onnxrt" in text  # and why
    assert "B hrnet-small@onnxrt:cpu: onnxrt:cpu: asked for by name" in text
    assert "6 people in 2 windows" in text
    assert "they agree: 99 of 100 keypoints lie within 0.0000 px of the crop (--bound 2)" in text


def test_two_networks_that_do_not_agree_end_with_1_and_are_drawn(tmp_path: Path, other: str, capsys: Capture) -> None:
    path = tmp_path / "apart.png"
    assert execute(["compare", "hrnet-small", other, *FEW, "--picture", str(path)]) == 1
    text = capsys.readouterr()
    assert "they do not agree: " in text.out
    assert "where they differ most" in text.err
    picture = cv2.imread(str(path))
    assert picture is not None
    assert (picture == (0, 0, 255)).all(axis=2).any()  # the red between keypoints that are apart


def test_a_bound_wide_enough_lets_everything_agree(other: str) -> None:
    assert execute(["compare", "hrnet-small", other, *FEW, "--bound", "10000"]) == 0


def test_pictures_of_ones_own_are_looked_at(tmp_path: Path, capsys: Capture) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.full((96, 72, 3), 120, np.uint8))
    line = ["compare", "hrnet-small", "hrnet-small", "--frames", str(tmp_path / "one.png"), "--detector", "whole"]
    assert execute(line) == 0
    assert "1 people in 1 windows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hrnet-small@abacus", "hrnet-small"], "backend 'abacus': there is no such backend"),
        (["hrnet-small", "nothere"], "model 'nothere' is not a path to an .onnx"),
        (
            ["hrnet-small", "hrnet-small", "--crop", "lozenge"],
            "compare: --crop 'lozenge' is not one of auto, exact and lock",
        ),
        (["hrnet-small", "hrnet-small", "--crop", "lock"], "crop=lock"),
        (["hrnet-small", "hrnet-small", "--frames", "nowhere.mp4"], "nowhere.mp4"),
        (
            ["hrnet-small", "hrnet-small", *FEW, "--picture", "apart.abacus"],
            "which OpenCV cannot encode as .abacus; try one in .png",
        ),
    ],
)
def test_a_mistake_is_text_in_one_line(arguments: list[str], words: str, capsys: Capture) -> None:
    assert execute(["compare", *arguments]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_its_help_shows_how_it_is_used(capsys: Capture) -> None:
    assert execute(["compare", "--help"]) == 0
    assert "posestream compare fami-fp16 fami-fp16@torch" in capsys.readouterr().out
