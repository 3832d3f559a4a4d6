"""ONNX Runtime as a backend: what it says when it cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engines.backends.onnxrt import OnnxRuntime, make_provider_options
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.spec import cache
from tests.engines import networks


def message_of(backend: OnnxRuntime) -> str:
    with pytest.raises(EngineError) as caught:
        backend.open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a network" * 50])
def test_a_file_that_is_not_onnx_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    message = message_of(OnnxRuntime(path))
    assert str(path) in message
    assert message.endswith("export it, or download it, again")


def test_a_truncated_network_is_refused_in_one_line(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[:500])
    assert "cannot read it as ONNX" in message_of(OnnxRuntime(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nobody.onnx"
    assert message_of(OnnxRuntime(path)) == f"model {path}: there is no such file"


def test_a_wrong_shape_names_both_shapes(tmp_path: Path) -> None:
    backend = OnnxRuntime(networks.brightness(tmp_path / "bright.onnx"))
    backend.open()
    with pytest.raises(EngineError) as caught:
        backend.run({"image": np.zeros((2, 3, 8, 8), np.float32)})
    assert str(caught.value) == (
        "bright.onnx: its input 'image' is (any, 3, 64, 48) float32, but it was fed (2, 3, 8, 8) float32"
    )


def test_it_neither_spins_nor_takes_more_threads_than_given(tmp_path: Path) -> None:
    options = OnnxRuntime(tmp_path / "any.onnx", threads=1)._make_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_unknown_backend_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "abacus")
    assert str(caught.value).startswith("backend 'abacus': there is no such backend; choose auto or one of onnxrt")


def test_a_backend_whose_package_is_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python itself marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "engines.backends.onnxrt")
    assert importlib.util.find_spec("engines.backends.onnxrt") is not None
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx")
    assert (
        str(caught.value) == "backend 'onnxrt:cpu': it needs the Python package 'onnxruntime', which is not installed"
    )


def test_the_gpu_is_taken_only_where_this_runtime_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def session(*_: object, providers: list[str], provider_options: object) -> SimpleNamespace:
        taken.extend(providers)
        return SimpleNamespace(get_inputs=list, get_outputs=list, get_providers=lambda: providers)

    path = networks.brightness(tmp_path / "bright.onnx")
    everything = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr("engines.backends.onnxrt.list_providers", lambda: everything)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    backend = OnnxRuntime(path)
    backend.open()
    assert taken == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert backend.describe().device == "cuda"


def test_a_provider_of_another_package_is_refused_with_what_is_here(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "onnxrt:tensorrt")
    message = str(caught.value)
    assert message.startswith("backend 'onnxrt:tensorrt': this ONNX Runtime ")
    assert "cpu; tensorrt comes with another package" in message
    assert message.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_a_mode_that_nobody_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "onnxrt:abacus")
    assert str(caught.value) == ("backend 'onnxrt:abacus': there is no such mode; choose one of cpu, cuda, tensorrt")


def test_a_provider_that_silently_gave_way_to_the_processor_is_an_error(tmp_path: Path) -> None:
    # As with a GPU's runtime on a machine without its driver: the session opens, on the processor.
    path = networks.brightness(tmp_path / "bright.onnx")
    message = message_of(OnnxRuntime(path, providers=("CUDAExecutionProvider", "CPUExecutionProvider")))
    assert message.startswith("backend 'onnxrt:cuda': cuda could not start on this machine and ONNX Runtime ")
    assert message.endswith("or choose backend=onnxrt:cpu")


def test_tensorrts_engines_are_kept_apart_for_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    one = networks.brightness(tmp_path / "one.onnx")
    other = networks.brightness(tmp_path / "other.onnx", batch=1)
    folders = [
        Path(make_provider_options("TensorrtExecutionProvider", path)["trt_engine_cache_path"]) for path in (one, other)
    ]
    assert folders[0] != folders[1]
    assert all(folder.is_dir() and tmp_path / "cache" in folder.parents for folder in folders)


def test_tensorrts_engines_of_an_export_go_with_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its weights lie beside the graph: new ones leave the graph as it was.
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    path = networks.brightness(tmp_path / "fused.onnx")
    folders = []
    for digests in ("one", "the other"):
        (tmp_path / "manifest.json").write_text(digests)
        folders.append(make_provider_options("TensorrtExecutionProvider", path)["trt_engine_cache_path"])
    assert folders[0] != folders[1]
