"""Fingerprints of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.spec.fingerprint import fingerprint_file, hash_file
from engines.spec.model_files import fingerprint_model, list_files


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"abc")
    # The sha256 of "abc" is in the standard (FIPS 180-2, B.1).
    assert fingerprint_file(path) == "ba7816bf8f01cfea"
    path.write_bytes(b"something longer")
    assert fingerprint_file(path) == hash_file(path)[:16] != "ba7816bf8f01cfea"


def test_a_fingerprint_follows_content_of_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    found = []
    for content in (b"abc", b"abd"):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        found.append(fingerprint_file(path))
    assert found[0] != found[1]


def test_the_fingerprint_of_a_graph_follows_the_weights_beside_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the graph is made with onnx (extra 'torch')")
    long_name = "w" * 130 + ".data"  # whose length takes two bytes
    tensors = []
    for name in ("b.data", long_name):
        (tmp_path / name).write_bytes(bytes(8))
        tensor = onnx.TensorProto(name=name, dims=[2], data_type=onnx.TensorProto.FLOAT)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
        tensors.append(tensor)
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert [file.name for file in list_files(path)] == ["net.onnx", "b.data", long_name]
    before = fingerprint_model(path)
    (tmp_path / long_name).write_bytes(bytes(7) + b"x")
    assert fingerprint_model(path) != before
