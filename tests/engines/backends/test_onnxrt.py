"""The backend ``onnxrt``: options and errors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.backends.onnxrt import OnnxRuntime, make_provider_options, make_session_options
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.spec import cache
from tests.engines import networks


def open_error(backend: OnnxRuntime) -> str:
    with pytest.raises(EngineError) as caught:
        backend.open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a network" * 50])
def test_a_file_that_is_not_onnx_raises(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    message = open_error(OnnxRuntime(path))
    assert str(path) in message
    assert message.endswith("export it, or download it, again")


def test_a_truncated_network_raises(tmp_path: Path) -> None:
    path = networks.brightness(tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[:500])
    assert "cannot read it as ONNX" in open_error(OnnxRuntime(path))


def test_a_missing_file_raises(tmp_path: Path) -> None:
    path = tmp_path / "missing.onnx"
    assert open_error(OnnxRuntime(path)) == f"model {path}: there is no such file"


def test_a_wrong_shape_raises_naming_both(tmp_path: Path) -> None:
    backend = OnnxRuntime(networks.brightness(tmp_path / "bright.onnx"))
    backend.open()
    with pytest.raises(EngineError) as caught:
        backend.run({"image": np.zeros((2, 3, 8, 8), np.float32)})
    assert str(caught.value) == (
        "bright.onnx: its input 'image' is (any, 3, 64, 48) float32, but it was fed (2, 3, 8, 8) float32"
    )


def test_threads_are_limited_and_do_not_spin() -> None:
    options = make_session_options()
    assert options.intra_op_num_threads == 1
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_unknown_backend_raises_listing_the_backends(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "abacus")
    assert str(caught.value).startswith("backend 'abacus': there is no such backend; choose auto or one of onnxrt")


def test_a_missing_package_raises_naming_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python itself marks a package that cannot be imported.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "engines.backends.onnxrt")
    assert importlib.util.find_spec("engines.backends.onnxrt") is not None
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx")
    assert (
        str(caught.value) == "backend 'onnxrt:cpu': it needs the Python package 'onnxruntime', which is not installed"
    )


def test_the_gpu_is_used_if_this_runtime_supports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def session(*_: object, providers: list[str], provider_options: object) -> SimpleNamespace:
        taken.extend(providers)
        meta = SimpleNamespace(custom_metadata_map={})
        return SimpleNamespace(
            get_inputs=list, get_outputs=list, get_providers=lambda: providers, get_modelmeta=lambda: meta
        )

    path = networks.brightness(tmp_path / "bright.onnx")
    everything = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr("engines.backends.onnxrt.list_providers", lambda: everything)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    backend = OnnxRuntime(path)
    backend.open()
    assert taken == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert backend.describe().device == "cuda"
    assert backend.describe().best_batch is None  # a GPU takes as many at once as there are


def test_a_provider_of_another_package_raises_listing_the_available_ones(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "onnxrt:tensorrt")
    message = str(caught.value)
    assert message.startswith("backend 'onnxrt:tensorrt': this ONNX Runtime ")
    assert "cpu; tensorrt comes with another package" in message
    assert message.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


def test_an_unknown_mode_raises_listing_the_modes(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", "onnxrt:abacus")
    assert str(caught.value) == (
        "backend 'onnxrt:abacus': there is no such mode; choose one of cpu, cuda, tensorrt, coreml, directml, "
        "openvino, rocm, migraphx"
    )


def fake_providers(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[tuple[list[str], list[dict[str, str]], Any]]:
    """An ONNX Runtime with these providers; the list gets the providers, their options and those of each session."""
    taken: list[tuple[list[str], list[dict[str, str]], Any]] = []

    def session(path: str, options: Any, providers: list[str], provider_options: list[dict[str, str]]) -> Any:
        taken.append((providers, provider_options, options))
        meta = SimpleNamespace(custom_metadata_map={})
        return SimpleNamespace(
            get_inputs=list, get_outputs=list, get_providers=lambda: providers, get_modelmeta=lambda: meta
        )

    monkeypatch.setattr("engines.backends.onnxrt.list_providers", lambda: names)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    return taken


EVERY = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "OpenVINOExecutionProvider",
    "ROCMExecutionProvider",
    "MIGraphXExecutionProvider",
    "CPUExecutionProvider",
)


@pytest.mark.parametrize(
    ("mode", "provider", "options"),
    [
        ("cuda", "CUDAExecutionProvider", {}),
        ("cuda:1", "CUDAExecutionProvider", {"device_id": "1"}),
        ("coreml", "CoreMLExecutionProvider", {}),
        ("directml:1", "DmlExecutionProvider", {"device_id": "1"}),
        ("rocm:0", "ROCMExecutionProvider", {"device_id": "0"}),
        ("migraphx", "MIGraphXExecutionProvider", {}),
        ("openvino", "OpenVINOExecutionProvider", {"device_type": "CPU"}),
        ("openvino:gpu:1", "OpenVINOExecutionProvider", {"device_type": "GPU.1"}),
    ],
)
def test_a_mode_selects_provider_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, provider: str, options: dict[str, str]
) -> None:
    taken = fake_providers(monkeypatch, *EVERY)
    backend = make_backend(networks.brightness(tmp_path / "bright.onnx"), f"onnxrt:{mode}")
    backend.open()
    ((names, given, session),) = taken
    assert names == [provider, "CPUExecutionProvider"]
    assert options.items() <= given[0].items()
    assert given[1] == {}
    assert ("device_id" in given[0]) == ("device_id" in options)
    assert session.enable_mem_pattern == (provider != "DmlExecutionProvider")
    assert backend.describe().device == mode.partition(":")[0]


def test_a_device_applies_to_every_provider_of_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    taken = fake_providers(monkeypatch, *EVERY)
    make_backend(networks.brightness(tmp_path / "bright.onnx"), "onnxrt:tensorrt:1").open()
    assert [options.get("device_id") for options in taken[0][1]] == ["1", "1", None]


@pytest.mark.parametrize(
    ("mode", "end"),
    [
        ("cuda:one", "there is no device 'one'; its devices are numbers, as in cuda:1 for the second"),
        ("cuda:", "there is no device ''; its devices are numbers, as in cuda:1 for the second"),
        ("cpu:0", "there is no device '0'; cpu has one device; leave it out"),
        ("openvino:1", "there is no device '1'; its devices are cpu, gpu, npu, and gpu:1 for the second GPU"),
        ("openvino:gpu:", "there is no device 'gpu:'; its devices are cpu, gpu, npu, and gpu:1 for the second GPU"),
    ],
)
def test_an_unknown_device_raises_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, end: str
) -> None:
    fake_providers(monkeypatch, *EVERY)
    with pytest.raises(EngineError) as caught:
        make_backend(tmp_path / "any.onnx", f"onnxrt:{mode}")
    assert str(caught.value) == f"backend 'onnxrt:{mode}': {end}"


def test_a_provider_that_fell_back_to_the_cpu_raises(tmp_path: Path) -> None:
    # As with a GPU's runtime on a machine without its driver: the session opens, on the processor.
    path = networks.brightness(tmp_path / "bright.onnx")
    message = open_error(OnnxRuntime(path, providers=("CUDAExecutionProvider", "CPUExecutionProvider")))
    assert message.startswith("backend 'onnxrt:cuda': cuda could not start on this machine and ONNX Runtime ")
    assert message.endswith("or choose backend=onnxrt:cpu")


def test_tensorrt_engines_have_a_folder_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    one = networks.brightness(tmp_path / "one.onnx")
    other = networks.brightness(tmp_path / "other.onnx", batch=1)
    folders = [
        Path(make_provider_options("TensorrtExecutionProvider", path)["trt_engine_cache_path"]) for path in (one, other)
    ]
    assert folders[0] != folders[1]
    assert all(folder.is_dir() and tmp_path / "cache" in folder.parents for folder in folders)


def test_tensorrt_engines_of_an_export_depend_on_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its weights lie beside the graph: new ones leave the graph as it was.
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    path = networks.brightness(tmp_path / "fused.onnx")
    folders = []
    for digests in ("one", "the other"):
        (tmp_path / "manifest.json").write_text(digests)
        folders.append(make_provider_options("TensorrtExecutionProvider", path)["trt_engine_cache_path"])
    assert folders[0] != folders[1]
