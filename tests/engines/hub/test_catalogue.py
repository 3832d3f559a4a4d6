"""The catalogue: every entry is complete, and wrong ones raise."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from engines.errors import EngineError
from engines.hub import catalogue


@pytest.mark.parametrize("path", sorted((configs.folder() / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_entry_has_a_title_and_a_licence(path: Path) -> None:
    entry = catalogue.read_entry(path)
    assert entry.title
    assert entry.licence


@pytest.mark.parametrize("name", [*catalogue.list_names("pose"), *catalogue.list_names("detector")])
def test_every_entry_with_weights_has_a_url_and_a_signature(name: str) -> None:
    _, entry = catalogue.find_entry(name)
    assert str(entry.url).startswith("https://")
    signature = entry.signature or entry.detector
    assert signature is not None
    assert signature.name == name


@pytest.mark.parametrize("name", catalogue.list_names("network"))
def test_every_published_checkpoint_has_a_licence_and_an_address(name: str) -> None:
    _, spec = catalogue.find_network(name)
    for checkpoint in spec.checkpoints:
        assert checkpoint.licence
        assert checkpoint.where
        assert (
            str(checkpoint.url).startswith("https://") or "Drive" in checkpoint.where or "Dropbox" in checkpoint.where
        )
        assert checkpoint.sha256 in checkpoint.file, "the digest must be the one in the published file name"


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
def test_a_wrong_entry_raises_naming_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(EngineError) as caught:
        catalogue.read_entry(path)
    assert str(caught.value).startswith(f"model {path}")
    assert words in str(caught.value)


def test_an_unknown_network_raises_with_the_nearest_names() -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find_network("fami-w48")
    assert "network 'fami-w48' is not known; did you mean 'fami-w48-384x288" in str(caught.value)


def test_ready_made_weights_are_not_a_network() -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.find_network("yolox-nano")
    assert str(caught.value) == ("network 'yolox-nano' is ready-made weights for detector; 'engines.load' opens those")
