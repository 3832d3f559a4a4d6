"""Which engine a graph gets, what its key holds, and when one is built; the build itself is made up."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engines.backends.trt import cache, plans, requirements
from engines.backends.trt.artifacts import (
    Preparation,
    PreparedGraph,
    Source,
    read_preparation,
    read_source,
    write_preparation,
)
from engines.backends.trt.options import BuildOptions
from engines.backends.trt.requirements import GpuInfo
from engines.errors import EngineError
from engines.plugins.deform_conv.settings import format_settings
from engines.plugins.deform_conv.spec import DeformConvSpec
from engines.spec.fingerprint import hash_file

A10 = GpuInfo("NVIDIA A10", "8.6", "580.65.06", 13, 24 << 30)
H100 = GpuInfo("NVIDIA H100", "9.0", "580.65.06", 13, 80 << 30)
SETTINGS = format_settings(DeformConvSpec(channels=17, out_channels=17, offset_groups=17, dilations=(3,)))
SOURCE = Source(
    "head", Path("head.trt.onnx"), "a" * 64, "b" * 64, "fp16", structure_sha256="c" * 64, kernels=(SETTINGS,)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export that was prepared: two files stand for its graphs."""
    (tmp_path / "head.onnx").write_bytes(b"standard")
    (tmp_path / "head.trt.onnx").write_bytes(b"for tensorrt")
    graph = PreparedGraph(
        file="head.trt.onnx",
        sha256=hash_file(tmp_path / "head.trt.onnx"),
        source_sha256=hash_file(tmp_path / "head.onnx"),
        structure_sha256="c" * 64,
        kernels=(SETTINGS,),
        types={"conv": "fp16"},
    )
    prepared = Preparation(
        plugin="fused",
        precision="fp16",
        weights_sha256="b" * 64,
        options=BuildOptions(max_batch=6),
        graphs={"head.onnx": graph},
    )
    write_preparation(prepared, tmp_path)
    return tmp_path


class Machine:
    """The GPU that is here, and what was built on it."""

    def __init__(self) -> None:
        self.facts = A10
        self.built: list[tuple[str, BuildOptions, str, bytes]] = []

    def build(self, source: Source, options: BuildOptions, architecture: str, timings: bytes, _bar: Any) -> Any:
        self.built.append((source.path.name, options, architecture, timings))
        return SimpleNamespace(plan=b"plan", timings=b"timings", layers={"fp16": 1})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    building: Any = ModuleType("engines.backends.trt.builder")
    building.build = made.build
    monkeypatch.setitem(sys.modules, building.__name__, building)
    monkeypatch.setattr(requirements, "import_tensorrt", lambda: SimpleNamespace(__version__="11.4.0.106"))
    monkeypatch.setattr(requirements, "get_gpu_info", lambda ordinal=0: made.facts)
    return made


def test_an_engine_is_built_once_with_the_options_of_its_export(folder: Path, machine: Machine) -> None:
    said: list[str] = []
    first = plans.get_plan(folder / "head.onnx", announce=said.append)
    again = plans.get_plan(folder / "head.onnx", announce=said.append)
    assert again == first
    assert cache.read(first.path) == b"plan"
    assert machine.built == [("head.trt.onnx", BuildOptions(max_batch=6), "sm_86", b"")]
    (result,) = said
    assert result == (
        f"TensorRT 11.4.0.106 builds head.onnx for NVIDIA A10 (8.6), once: "
        f"{folder / 'tensorrt'} holds no engine of 'head' yet"
    )


def test_another_gpu_is_reported_and_gets_its_own_engine(folder: Path, machine: Machine) -> None:
    plans.get_plan(folder / "head.onnx")
    machine.facts = H100
    said: list[str] = []
    plans.get_plan(folder / "head.onnx", announce=said.append)
    assert said[0].endswith("does not fit: built on NVIDIA A10 (8.6), this is NVIDIA H100 (9.0)")
    assert [architecture for _, _, architecture, _ in machine.built] == ["sm_86", "sm_90"]
    machine.facts = A10
    plans.get_plan(folder / "head.onnx")
    assert len(machine.built) == 2


def test_timings_of_one_build_serve_the_next(folder: Path, machine: Machine) -> None:
    plans.get_plan(folder / "head.onnx")
    plans.get_plan(folder / "head.onnx", BuildOptions(max_batch=7))
    assert [timings for *_, timings in machine.built] == [b"", b"timings"]


def test_a_gpu_that_tensorrt_does_not_run_on_is_refused_before_anything_is_read(machine: Machine) -> None:
    machine.facts = dataclasses.replace(A10, sm="7.0")
    with pytest.raises(EngineError, match="does not run on NVIDIA A10"):
        plans.get_plan(Path("nowhere.onnx"))


def key(options: BuildOptions, facts: GpuInfo = A10, version: str = "11.4.0.106", source: Source = SOURCE) -> Any:
    return plans.make_key(source, options, facts, version)


def test_the_key_holds_the_machine_the_graph_and_the_kernels() -> None:
    result = key(BuildOptions())
    assert (result.gpu, result.sm, result.driver, result.cuda_major) == ("NVIDIA A10", "8.6", "580", 13)
    assert (result.onnx_sha256, result.weights_sha256, result.tensorrt) == ("a" * 64, "b" * 64, "11.4.0.106")
    assert list(result.kernels) == [SETTINGS]
    # what it is compiled for goes with the GPU, or an engine of another one would look outdated
    assert result.kernels == key(BuildOptions(), H100).kernels


def test_an_engine_for_ampere_and_newer_is_of_no_gpu_and_its_kernels_are_for_ampere() -> None:
    options = BuildOptions(hardware="ampere+")
    assert key(options) == key(options, H100)
    assert (key(options).gpu, key(options).sm) == ("any", "8.0 or newer")
    assert plans.target_architecture(options, H100) == "sm_80"


def test_an_engine_for_one_compute_capability_is_of_all_gpus_that_have_it() -> None:
    options = BuildOptions(hardware="same-capability")
    assert key(options) == key(options, dataclasses.replace(A10, name="NVIDIA A40"))
    assert key(options) != key(options, H100)


def test_a_version_compatible_engine_is_of_a_major_release() -> None:
    options = BuildOptions(version_compatible=True)
    assert key(options, version="11.0.0.1") == key(options, version="11.4.0.106")
    assert key(options, version="10.13.3.9") != key(options, version="11.4.0.106")


def test_an_engine_without_weights_serves_every_checkpoint_of_the_network() -> None:
    options, trained_on = (
        BuildOptions(refit=True),
        dataclasses.replace(SOURCE, onnx_sha256="d" * 64, weights_sha256="e" * 64),
    )
    assert key(options) == key(options, source=trained_on)
    assert key(BuildOptions()) != key(BuildOptions(), source=trained_on)


def test_a_plain_graph_is_built_as_it_is_and_known_by_the_weights_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"graph")
    alone = read_source(path)
    assert (alone.part, alone.path, alone.weights_sha256, alone.types) == ("mine", path, "", {})
    (tmp_path / "mine.onnx.data").write_bytes(b"weights")
    assert read_source(path).weights_sha256 != ""


def test_a_graph_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"there is no file .*mine\.onnx; give an \.onnx file"):
        read_source(tmp_path / "mine.onnx")


def broken_list(folder: Path) -> None:
    (folder / "tensorrt.json").write_text('{"format": 1}')


def later_format(folder: Path) -> None:
    prepared = read_preparation(folder)
    assert prepared is not None
    text = (folder / "tensorrt.json").read_text()
    (folder / "tensorrt.json").write_text(text.replace('"format": 1', '"format": 2'))


DAMAGE = [
    (broken_list, r"tensorrt\.json: it lacks 'plugin'; export the network again, --to tensorrt"),
    (later_format, r"is of format 2, this version reads 1; export again"),
    (
        lambda folder: (folder / "head.onnx").write_bytes(b"other"),
        r"was made from another head\.onnx than the one beside",
    ),
    (lambda folder: (folder / "head.trt.onnx").unlink(), r"lists head\.trt\.onnx, which is missing; export"),
    (
        lambda folder: (folder / "head.trt.onnx").write_bytes(b"x"),
        r"head\.trt\.onnx is not the graph that was prepared",
    ),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_a_damaged_preparation_is_refused(damage: Any, said: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(EngineError, match=said):
        read_source(folder / "head.onnx")
