"""Two toy networks and the files they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from stream.testing.videos import numbered_picture, write_video
from tests.engines import networks


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds two people in every picture."""
    return networks.pair(tmp_path_factory.mktemp("detector") / "pair.onnx")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Puts every joint at the brightest red of a person."""
    path = networks.brightness(tmp_path_factory.mktemp("model") / "spot.onnx")
    path.with_suffix(".json").write_text(json.dumps({"name": "spot", "input_size": [48, 64]}))
    return path


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with two photos, a video of four frames, a photo that is none, and a text."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("2.png", "10.jpg"):
        cv2.imwrite(str(folder / name), numbered_picture(1))
    write_video(folder / "clip.mp4", [numbered_picture(number) for number in range(4)])
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / ".2.png").write_bytes(b"hidden")
    return folder
