"""The catalogue: every entry is complete, and wrong ones raise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import configs
from engines.errors import EngineError
from engines.hub import catalogue

READY = [*catalogue.list_names("pose"), *catalogue.list_names("detector"), *catalogue.list_names("single-stage")]


@pytest.mark.parametrize("path", sorted((configs.folder() / "models").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_entry_has_a_title_and_a_licence(path: Path) -> None:
    entry = catalogue.read_entry(path)
    assert entry.title
    assert entry.licence


@pytest.mark.parametrize("name", READY)
def test_every_entry_with_weights_has_addresses_and_a_signature(name: str) -> None:
    _, entry = catalogue.find_entry(name)
    assert entry.sources
    for source in entry.sources:
        assert all(str(file.url).startswith(("https://", "npm:", "pypi:")) for file in source.files)
        assert source.verified or source.note, "an address that is not verified says why"
    signature = entry.signature or entry.detector or entry.single_stage
    assert signature is not None
    assert signature.name == name


def write_entry(path: Path, *sources: object) -> Path:
    entry = {"kind": "detector", "title": "t", "licence": "MIT", "detector": {"name": "net"}, "sources": sources}
    path.write_text(json.dumps(entry))
    return path


BAD_FILES = [
    ({"url": "npm:pose==1.0.0", "member": "pose.binarypb"}, "member 'pose.binarypb' is read by no backend"),
    ({"url": "https://a.b/net.pth"}, "file '/net.pth' is read by no backend; they read .onnx, .xml, .tflite"),
    ({"url": "https://a.b/net.tar.gz"}, "https://a.b/net.tar.gz is an archive; name the file in it as member"),
    ({"url": "pypi:pose==1.0"}, "pypi:pose==1.0 is an archive; name the file in it as member"),
    ({"url": "https://a.b/net.xml"}, "files: one .onnx or .tflite, or an .xml and then its .bin"),
    ({"url": "https://a.b/net.bin"}, "files: one .onnx or .tflite, or an .xml and then its .bin"),
    ({"url": "https://a.b/net.onnx", "integrity": "md5-abc"}, "sources[0].files[0].integrity"),
]
BAD_SOURCES = [
    ({"files": [{"url": "https://a.b/net.onnx"}], "verified": True}, "a verified source needs the sha256 of each file"),
    ({"files": []}, "sources[0].files"),
]


@pytest.mark.parametrize(
    ("source", "words"), [*(({"files": [file]}, words) for file, words in BAD_FILES), *BAD_SOURCES]
)
def test_a_source_that_no_backend_could_use_is_refused_by_name(tmp_path: Path, source: object, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        catalogue.read_entry(write_entry(tmp_path / "net.yaml", source))
    assert words in str(caught.value)


def test_the_pair_for_real_people_is_verified_and_of_known_size() -> None:
    for name in catalogue.SETS["people"]:
        best = catalogue.find_entry(name)[1].sources[0]
        assert best.verified
        assert best.bytes
    pose = catalogue.find_entry(catalogue.REAL_PEOPLE_POSE)[1]
    assert pose.signature is not None
    assert pose.signature.trained_on == "real people"


def test_addresses_are_those_of_rtmlib() -> None:
    rtmlib = pytest.importorskip("rtmlib")
    theirs = "".join(path.read_text() for path in Path(rtmlib.__file__).parent.rglob("*.py"))
    ours = [
        str(file.url)
        for name in READY
        for source in catalogue.find_entry(name)[1].sources
        for file in source.files
        if str(file.url).startswith("https://download.openmmlab.com/")
    ]
    assert len(ours) >= 12
    # rtmpose-t is not among rtmlib's; its address is that of its publisher, of the same form.
    assert [url for url in ours if url not in theirs and "rtmpose-t_" not in url] == []


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
        ("kind: pose\ntitle: a\nlicence: b\n", "kind 'pose' goes with signature, only"),
        (
            "kind: detector\ntitle: a\nlicence: b\ndetector: {name: x, family: yolox}\n",
            "needs the sources of its weights",
        ),
        ("kind: network\ntitle: a\nlicence: b\n", "kind 'network' goes with network, only"),
        ("kind: dog\ntitle: a\nlicence: b\n", "line 1, column 7: kind cannot be 'dog'"),
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
