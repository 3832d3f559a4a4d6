"""An export prepared for TensorRT on a machine that has none: what lies in the folder then, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from engines.backends.trt import plans  # noqa: E402
from engines.backends.trt.artifacts import read_preparation, read_source  # noqa: E402
from engines.backends.trt.options import BuildOptions  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.spec.manifest import (  # noqa: E402
    Manifest,
    describe_file,
    fingerprint_files,
    read_manifest,
    verify_files,
    write_manifest,
)
from export import to_tensorrt  # noqa: E402
from export.graph.weights_file import write_graphs  # noqa: E402
from tests.engines.exports import manifest, signature  # noqa: E402

CHANNELS = 8


def deformable() -> Any:
    """``crops`` through one deformable convolution to ``points``; its weights are large enough to lie in the file."""
    random = np.random.default_rng(0)
    weights = {
        "weight": random.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32),
        "bias": random.standard_normal(CHANNELS).astype(np.float32),
        "guide": random.standard_normal((27, CHANNELS, 3, 3)).astype(np.float32),
    }
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["crops", "guide"], ["maps"], name="guide", pads=pads),
        helper.make_node("Split", ["maps", "parts"], ["offset", "mask"], name="split", axis=1),
        helper.make_node("DeformConv", ["crops", "weight", "offset", "bias", "mask"], ["y"], name="deform", pads=pads),
        helper.make_node("Relu", ["y"], ["points"], name="relu"),
    ]
    shape = ["batch", CHANNELS, 6, 5]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("points", TensorProto.FLOAT, shape)],
            [
                *(numpy_helper.from_array(v, k) for k, v in weights.items()),
                numpy_helper.from_array(np.array([18, 9]), "parts"),
            ],
        ),
        opset_imports=[helper.make_operatorsetid("", 20)],
        ir_version=10,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export with one graph."""
    write_graphs({"fused": deformable()}, tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing that these tests run")
    files = {name: describe_file(tmp_path / name) for name in ("fused.onnx", "weights.data", "weights.safetensors")}
    result = manifest(tmp_path, signature(0, 0), ["fused"])
    write_manifest(_with(result, files), tmp_path)
    return tmp_path


def _with(result: Manifest, files: Any) -> Manifest:
    import msgspec

    return msgspec.structs.replace(result, files=files, fingerprint=fingerprint_files(files))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was given to the compiler, which is not what these tests are about."""
    specs: list[Any] = []
    monkeypatch.setattr(to_tensorrt, "compile_ptx", specs.append)
    return specs


def without_a_gpu(*_: object, **__: object) -> None:
    raise EngineError("no GPU: CUDA says nothing")


def test_without_a_gpu_the_folder_is_prepared_and_the_remedy_given(
    folder: Path, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "get_plan", without_a_gpu)
    with pytest.raises(EngineError) as refused:
        to_tensorrt.build_engines(folder, options=BuildOptions(max_batch=5))
    assert str(refused.value) == (
        f"no GPU: CUDA says nothing ({folder} is exported and prepared; missing engines are built by the first "
        f"pipeline that runs it on its GPU: pose model={folder.name} backend=tensorrt)"
    )
    result = read_manifest(folder)
    verify_files(result, folder)
    source = read_source(folder / "fused.onnx")
    assert source.path.name == "fused.trt.onnx"
    assert source.options.max_batch == 5
    assert source.weights_sha256 == result.files["weights.data"].sha256
    assert source.types == {"guide": "fp32", "deform_fused": "fp32"}
    assert [spec.activation for spec in compiled] == ["relu"]


def test_the_prepared_graph_reads_its_weights_from_the_same_file(folder: Path, compiled: list[Any]) -> None:
    to_tensorrt.prepare(folder, plugin="fused", options=BuildOptions())
    graph = onnx.load(folder / "fused.trt.onnx", load_external_data=False).graph
    outside = {tensor.name for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL}
    assert outside == {"guide"}
    # the deformable layer's own are packed for the kernel, so no longer those of the file
    assert {tensor.name for tensor in graph.initializer} == {
        "guide",
        "parts",
        "deform_fused.weight",
        "deform_fused.bias",
    }


def test_the_route_of_nvidia_needs_no_kernel_of_ours(folder: Path, compiled: list[Any]) -> None:
    prepared = to_tensorrt.prepare(folder, plugin="nvidia", options=BuildOptions())
    assert prepared == read_preparation(folder)
    assert compiled == []
    assert read_source(folder / "fused.onnx").kernels == ()


def test_another_route_changes_the_graph_but_not_what_is_known_of_the_export(folder: Path, compiled: list[Any]) -> None:
    result = read_manifest(folder)
    kinds: list[Callable[[], Any]] = [
        lambda: to_tensorrt.prepare(folder, plugin="fused", options=BuildOptions()),
        lambda: to_tensorrt.prepare(folder, plugin="nvidia", options=BuildOptions()),
    ]
    one, other = (prepare().graphs["fused.onnx"] for prepare in kinds)
    assert one.sha256 != other.sha256
    assert one.source_sha256 == other.source_sha256 == result.files["fused.onnx"].sha256
    verify_files(read_manifest(folder), folder)
