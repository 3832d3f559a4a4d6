"""Signatures: derived shapes, files and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engines.errors import EngineError
from engines.spec.signature import Signature, read_signature, write_signature


def test_a_signature_survives_json(tmp_path: Path) -> None:
    signature = Signature(name="fami", input_size=(288, 384), skeleton="posetrack17", past=2, future=2, layout="ntchw")
    write_signature(signature, tmp_path / "fami.json")
    assert read_signature(tmp_path / "fami.json") == signature


def test_the_shape_of_an_input_follows_from_the_window_and_the_layout() -> None:
    window: dict[str, Any] = {"name": "any", "input_size": (192, 256), "past": 1, "future": 1}
    assert Signature(**window, layout="ntchw").input_shape == (3, 3, 256, 192)
    assert Signature(**window, layout="nchw").input_shape == (9, 256, 192)
    assert Signature(name="one", input_size=(192, 256)).input_shape == (3, 256, 192)


def test_frames_are_fed_in_the_order_of_the_network() -> None:
    dcpose = Signature(name="dcpose", input_size=(288, 384), past=1, future=1, order=(0, -1, 1))
    assert dcpose.feeding_order == (1, 0, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skeleton": "octopus"}, "skeleton 'octopus' is not one of coco17"),
        ({"past": -1}, "past must be an integer of at least 0"),
        ({"input_size": [192]}, "input_size must be a list of 2 values"),
        ({"std": [1, 0, 1]}, "std [1.0, 0.0, 1.0] must not contain 0"),
        ({"order": [0, 1]}, "order [0, 1] must name each of the offsets [0] once"),
        ({"decode": "heatmap-dark", "blur_px": 4}, "blur_px 4 must be odd"),
        ({"decode": "argmax"}, "decode cannot be 'argmax'"),
        ({"inputsize": 1}, "inputsize"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({"name": "wrong", "input_size": [192, 256], **changes}))
    with pytest.raises(EngineError) as caught:
        read_signature(path)
    assert str(caught.value).startswith(f"Signature {path}: ")
    assert words in str(caught.value)


def test_a_missing_file_raises_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_signature(tmp_path / "none.json")
    assert str(caught.value).endswith("No such file or directory; see docs/reference/models.md")
