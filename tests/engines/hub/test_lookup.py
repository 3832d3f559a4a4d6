"""Models by name: what a name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.hub.lookup import find_model
from engines.inference.engine import load_signature
from engines.spec.cache import CACHE_VARIABLE
from engines.spec.signature import Signature, write_signature
from tests.engines import networks


def test_a_signature_is_known_before_its_weights_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert load_signature("rtmpose-s").decode == "simcc"
    with pytest.raises(EngineError) as caught:
        find_model("rtmpose-s", "pose").find_weights()
    assert str(tmp_path / "models" / "rtmpose-s.onnx") in str(caught.value)
    assert "get it with 'posestream pull rtmpose-s'" in str(caught.value)


def test_an_unknown_name_raises_with_the_nearest_one() -> None:
    with pytest.raises(EngineError) as caught:
        find_model("yolox-nan", "detector")
    assert str(caught.value).endswith("did you mean 'yolox-nano'?")


def test_an_architecture_without_weights_raises() -> None:
    with pytest.raises(EngineError) as caught:
        find_model("fami-w48-384x288", "pose")
    assert str(caught.value) == (
        "model 'fami-w48-384x288' is a network to train and to export, not weights that run; give the folder that "
        "'posestream export' makes of it"
    )


def test_a_network_of_the_other_kind_raises() -> None:
    with pytest.raises(EngineError) as caught:
        find_model("yolox-nano", "pose")
    assert str(caught.value) == "model 'yolox-nano' is a detector network, but a pose network is wanted"


@pytest.mark.parametrize("model", ["nowhere.onnx", "nowhere.yaml"])
def test_a_missing_file_raises(tmp_path: Path, model: str) -> None:
    with pytest.raises(EngineError) as caught:
        find_model(str(tmp_path / model), "pose")
    assert str(caught.value) == f"model {str(tmp_path / model)!r}: there is no such file"


def test_a_file_has_the_signature_beside_it(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    assert find_model(str(path), "pose").signature is None
    signature = Signature(name="spot", input_size=(48, 64))
    write_signature(signature, path.with_suffix(".json"))
    assert find_model(str(path), "pose").signature == signature


def test_a_detector_has_the_detector_signature_beside_it(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "boxes.onnx")
    path.with_suffix(".json").write_text('{"family": "boxes-scores", "colour": "bgr"}')
    found = find_model(str(path), "detector").detector
    assert found is not None
    assert (found.family, found.colour) == ("boxes-scores", "bgr")
    path.with_suffix(".json").write_text('{"familly": "yolox"}')
    with pytest.raises(EngineError) as caught:
        find_model(str(path), "detector")
    assert "familly" in str(caught.value)
