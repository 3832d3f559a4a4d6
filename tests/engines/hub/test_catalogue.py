"""The catalogue: where names lead, and that every entry is right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import configs
from engines.errors import EngineError
from engines.hub import catalogue
from engines.inference.engine import load_signature
from engines.spec import cache
from engines.spec.signature import Signature, write_signature
from tests.engines import networks


@pytest.mark.parametrize("path", sorted((configs.folder() / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_entry_can_be_read_and_says_what_it_is_and_under_which_licence(path: Path) -> None:
    entry = catalogue.read_entry(path)
    assert entry.title
    assert entry.licence


@pytest.mark.parametrize("name", [*catalogue.names("pose"), *catalogue.names("detector")])
def test_every_entry_with_weights_says_where_they_come_from(name: str) -> None:
    _, entry = catalogue.entry(name)
    assert entry.url.startswith("https://")
    told = entry.signature or entry.detector
    assert told is not None
    assert told.name == name


@pytest.mark.parametrize("name", catalogue.names("network"))
def test_every_network_says_where_weights_are_published_if_they_are(name: str) -> None:
    _, spec = catalogue.network(name)
    for checkpoint in spec.checkpoints:
        assert checkpoint.licence
        assert checkpoint.where
        assert checkpoint.url.startswith("https://") or "Drive" in checkpoint.where or "Dropbox" in checkpoint.where
        assert checkpoint.sha256 in checkpoint.file, "a digest that its publisher did not put into the name"


def test_a_signature_is_known_before_its_weights_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    assert load_signature("rtmpose-s").decode == "simcc"
    with pytest.raises(EngineError) as caught:
        catalogue.find("rtmpose-s", "pose").weights()
    assert str(tmp_path / "models" / "rtmpose-s.onnx") in str(caught.value)
    assert "get it with 'posestream pull rtmpose-s'" in str(caught.value)


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find("yolox-nan", "detector")
    assert str(caught.value).endswith("did you mean 'yolox-nano'?")


def test_a_network_of_the_papers_does_not_run_as_it_is() -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find("fami-w48-384x288", "pose")
    assert str(caught.value) == (
        "model 'fami-w48-384x288' is a network to train and to export, not weights that run; give the folder that "
        "'posestream export' makes of it"
    )


def test_a_network_of_the_other_kind_is_refused() -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find("yolox-nano", "pose")
    assert str(caught.value) == "model 'yolox-nano' is a detector network, but a pose network is wanted"


@pytest.mark.parametrize("model", ["nowhere.onnx", "nowhere.yaml"])
def test_a_path_to_nothing_is_named(tmp_path: Path, model: str) -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find(str(tmp_path / model), "pose")
    assert str(caught.value) == f"model {str(tmp_path / model)!r}: there is no such file"


def test_a_path_brings_the_signature_beside_it(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "spot.onnx")
    assert catalogue.find(str(path), "pose").signature is None
    told = Signature(name="spot", input_size=(48, 64))
    write_signature(told, path.with_suffix(".json"))
    assert catalogue.find(str(path), "pose").signature == told


def test_a_detector_has_its_own_kind_of_signature(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "boxes.onnx")
    path.with_suffix(".json").write_text('{"family": "boxes-scores", "colour": "bgr"}')
    found = catalogue.find(str(path), "detector").detector
    assert found is not None
    assert (found.family, found.colour) == ("boxes-scores", "bgr")
    path.with_suffix(".json").write_text('{"familly": "yolox"}')
    with pytest.raises(EngineError) as caught:
        catalogue.find(str(path), "detector")
    assert "familly" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: pose\ntitle: a\nlicence: b\nurl: c\n", "kind 'pose' goes with signature, only"),
        ("kind: detector\ntitle: a\nlicence: b\ndetector: {name: x, family: yolox}\n", "needs the url of its weights"),
        ("kind: network\ntitle: a\nlicence: b\n", "kind 'network' goes with network, only"),
        ("kind: dog\ntitle: a\nlicence: b\nurl: c\n", "$.kind"),
        ("kind: [\n", "line 2"),
        ("title: a\n", "kind"),
    ],
)
def test_a_wrong_entry_names_its_file_and_place_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(EngineError) as caught:
        catalogue.read_entry(path)
    assert str(caught.value).startswith(f"model {path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"abc")
    # The sha256 of "abc" is in the standard (FIPS 180-2, B.1).
    assert cache.fingerprint(path) == "ba7816bf8f01cfea"
    path.write_bytes(b"something longer")
    assert cache.fingerprint(path) != "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("platform", "variable", "value", "wanted"),
    [
        ("linux", "XDG_CACHE_HOME", "/x", Path("/x/posestream")),
        ("win32", "LOCALAPPDATA", "/y", Path("/y/posestream/cache")),
        ("linux", cache.CACHE_VARIABLE, "/z", Path("/z")),
    ],
)
def test_the_cache_is_where_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, variable: str, value: str, wanted: Path
) -> None:
    monkeypatch.delenv(cache.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert cache.cache_folder() == wanted
