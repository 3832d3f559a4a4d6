"""The choice of ``auto`` on different machines, and its reasons."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engines.backends import auto
from engines.backends.auto import Choice, choose
from engines.backends.registry import check_installed
from engines.errors import EngineError
from engines.spec.manifest import Manifest, Source, write_manifest
from engines.spec.network import NetworkSpec
from engines.spec.signature import Signature

Patch = pytest.MonkeyPatch


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The fused graph of an export, which is never opened."""
    manifest = Manifest(
        signature=Signature(name="net", input_size=(192, 256)),
        network=NetworkSpec(model="hrnet.HRNet", input_size=(192, 256), skeleton="coco17"),
        precision="fp16",
        graphs={"fused": "fused.onnx"},
        weights="weights.safetensors",
        files={},
        source=Source(),
        versions={},
        parity={},
        fingerprint="0" * 16,
        opset=20,
    )
    write_manifest(manifest, tmp_path)
    return tmp_path / "fused.onnx"


@pytest.fixture
def gpu(monkeypatch: Patch, tmp_path: Path) -> None:
    """A machine with a GPU's driver and none of the packages that would use it."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(auto, "_DEV", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(auto, "_find_package", lambda package: None)
    monkeypatch.setattr("engines.backends.onnxrt.list_providers", lambda: ("CPUExecutionProvider",))


def install_torch(monkeypatch: Patch, folder: Path, cuda: str) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\n")
    monkeypatch.setattr(auto, "_find_package", {"torch": folder / "torch"}.get)


def test_an_explicit_name_is_taken(graph: Path) -> None:
    assert choose(graph, name="onnxrt") == Choice("onnxrt", "asked for by name")


def test_without_a_gpu_the_cpu_is_chosen(graph: Path, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(auto, "_DEV", tmp_path / "nothing")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose(graph) == Choice("onnxrt:cpu", "no NVIDIA GPU is on this machine")


@pytest.mark.usefixtures("gpu")
def test_a_hidden_gpu_is_not_used(graph: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert choose(graph) == Choice("onnxrt:cpu", "CUDA_VISIBLE_DEVICES hides every GPU")


def install_tensorrt(monkeypatch: Patch, graph: Path, fitting: bool) -> None:
    """With an engine on disk, which fits this machine or not."""

    def get_plan(path: Path, *, announce: Callable[[str], None]) -> None:
        if not fitting:
            announce("TensorRT 11.4 builds fused.onnx, once: built on another GPU")

    monkeypatch.setattr(auto, "_find_package", {"tensorrt": Path(), "pycuda": Path()}.get)
    monkeypatch.setattr("engines.backends.trt.plans.get_plan", get_plan)
    (graph.parent / "tensorrt").mkdir()
    (graph.parent / "tensorrt" / "fused-0123.engine").touch()


@pytest.mark.usefixtures("gpu")
def test_a_built_engine_is_chosen_and_none_is_built(graph: Path, monkeypatch: Patch) -> None:
    install_tensorrt(monkeypatch, graph, fitting=True)
    assert choose(graph) == Choice("tensorrt:nobuild", "its engines are already built for this machine")


@pytest.mark.usefixtures("gpu")
def test_an_engine_of_another_machine_is_not_chosen_and_named(graph: Path, monkeypatch: Patch) -> None:
    install_tensorrt(monkeypatch, graph, fitting=False)
    assert "built on another GPU" in choose(graph).reason


@pytest.mark.usefixtures("gpu")
def test_backbone_and_head_both_need_an_engine(graph: Path, monkeypatch: Patch) -> None:
    install_tensorrt(monkeypatch, graph, fitting=True)
    assert "TensorRT has built no engine of it here" in choose(graph, graph.with_name("head.onnx")).reason


@pytest.mark.usefixtures("gpu")
def test_pytorch_with_cuda_is_chosen_without_an_engine(graph: Path, monkeypatch: Patch, tmp_path: Path) -> None:
    install_torch(monkeypatch, tmp_path, "'13.0'")
    choice = choose(graph)
    assert choice.name == "torch"
    assert choice.reason.startswith("PyTorch has CUDA; TensorRT needs tensorrt and pycuda, not installed here")


@pytest.mark.usefixtures("gpu")
def test_pytorch_is_not_chosen_for_int8(graph: Path, monkeypatch: Patch, tmp_path: Path) -> None:
    install_torch(monkeypatch, tmp_path, "'13.0'")
    manifest = msgspec.json.decode((graph.parent / "manifest.json").read_bytes(), type=Manifest)
    write_manifest(msgspec.structs.replace(manifest, precision="int8"), graph.parent)
    assert "it is int8, which only its graph has, not PyTorch" in choose(graph).reason


@pytest.mark.usefixtures("gpu")
def test_onnx_runtime_with_cuda_is_chosen_if_pytorch_cannot(graph: Path, monkeypatch: Patch, tmp_path: Path) -> None:
    install_torch(monkeypatch, tmp_path, "None")
    both = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr("engines.backends.onnxrt.list_providers", lambda: both)
    choice = choose(graph)
    assert choice.name == "onnxrt:cuda"
    assert choice.reason.endswith("this PyTorch was built without CUDA")


@pytest.mark.usefixtures("gpu")
def test_an_unused_gpu_is_named_with_every_remedy(tmp_path: Path) -> None:
    choice = choose(tmp_path / "plain.onnx")
    assert choice.name == "onnxrt:cpu"
    assert choice.leaves_gpu_idle
    for remedy in ("pip install '.[tensorrt]'", "graph without its weights", "onnxruntime-gpu"):
        assert remedy in choice.reason


def test_choosing_imports_no_heavy_package() -> None:
    program = (
        "import sys; from pathlib import Path; from engines.backends import auto; "
        "auto.why_no_gpu = lambda: ''; auto.choose(Path('plain.onnx')); "
        "print(*{'torch', 'tensorrt', 'pycuda', 'onnx'} & sys.modules.keys())"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize(
    ("file", "backend", "is_refused"),
    [
        ("tiny.xml", "auto", True),
        ("tiny.tflite", "auto", True),
        ("tiny.onnx", "openvino:gpu", True),
        ("tiny.onnx", "auto", False),
        ("tiny.xml", "onnxrt", False),  # which says itself that it does not read such a file
    ],
)
def test_openvino_is_missed_before_a_line_starts(
    file: str, backend: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    if is_refused:
        with pytest.raises(EngineError) as caught:
            check_installed(Path(file), backend)
        remedy = "in a clone of posestream: pip install '.[openvino]'"
        assert str(caught.value) == f"model {file} runs in OpenVINO, which is not installed; {remedy}"
    else:
        check_installed(Path(file), backend)
