"""No TensorRT, no driver, no GPU, the wrong one of either: one line each. Drivers and devices here are made up."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engines.backends.trt import requirements
from engines.backends.trt.requirements import GpuInfo
from engines.errors import EngineError

A10 = GpuInfo("NVIDIA A10", "8.6", "580.65.06", 13, 24 << 30)


class Absent:
    """A finder that fails every import of one package as it would fail where that is missing or broken."""

    def __init__(self, package: str, error: Exception) -> None:
        self.package, self.error = package, error

    def find_spec(self, name: str, *_: object) -> None:
        if name.split(".", maxsplit=1)[0] == self.package:
            raise self.error


def without(monkeypatch: pytest.MonkeyPatch, package: str, error: Exception) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(package, error), *sys.meta_path])


def test_tensorrt_that_is_not_installed_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tensorrt", ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
    with pytest.raises(EngineError, match=r"^TensorRT is not installed .*: pip install '\.\[tensorrt\]'$"):
        requirements.import_tensorrt()


def test_tensorrt_without_its_libraries_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tensorrt", ImportError("libnvinfer_plugin.so.11: cannot open shared object file"))
    with pytest.raises(EngineError, match=r"a library it needs is not \(libnvinfer_plugin\.so\.11: .*LD_LIBRARY_PATH$"):
        requirements.import_tensorrt()


VERSIONS = [
    ("10.12.0.36", r"^TensorRT 10\.12\.0\.36 is too old: posestream needs 10\.13 or newer; .* --upgrade '"),
    ("8.6.1", "is too old"),
    ("12.0.0", r"newer than posestream supports \(10\.13 to 11\.x\): pip install 'tensorrt<12'$"),
    ("unknown", "is not a number"),
]


@pytest.mark.parametrize(("version", "said"), VERSIONS)
def test_a_release_that_is_not_supported_has_its_line(version: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        requirements.check_version(version)


@pytest.mark.parametrize("version", ["10.13.3.9", "10.16.1", "11.0.0.1", "11.4.0.106"])
def test_a_supported_release_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert requirements.import_tensorrt() is module
    requirements.check_gpu(version, A10)


def test_a_driver_that_is_too_old_for_the_release_has_its_line() -> None:
    facts = GpuInfo("NVIDIA A10", "8.6", "535.1", 12, 1)
    requirements.check_gpu("10.13.3", facts)
    with pytest.raises(
        EngineError, match=r"11\.4\.0 needs a driver for CUDA 13, .* supports CUDA 12: update the driver"
    ):
        requirements.check_gpu("11.4.0", facts)


def test_a_gpu_that_is_too_old_has_its_line() -> None:
    facts = GpuInfo("Tesla V100", "7.0", "580", 13, 1)
    with pytest.raises(EngineError, match=r"does not run on Tesla V100 \(7\.0\): it needs compute capability 7\.5"):
        requirements.check_gpu("11.4.0", facts)


class CudaError(Exception):
    pass


def made_up(monkeypatch: pytest.MonkeyPatch, *, count: int = 1, error: str = "") -> None:
    """A ``pycuda.driver`` with so many GPUs, or one that does not start."""

    def init() -> None:
        if error:
            raise CudaError(error)

    class Device:
        count = staticmethod(lambda: count)

        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        name = staticmethod(lambda: "NVIDIA A10")
        compute_capability = staticmethod(lambda: (8, 6))
        total_memory = staticmethod(lambda: 24 << 30)

    driver = SimpleNamespace(init=init, Device=Device, Error=CudaError, get_driver_version=lambda: 13010)
    monkeypatch.setattr(requirements, "import_pycuda", lambda: driver)


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch)
    monkeypatch.setattr(requirements, "_read_driver_release", lambda: "")
    facts = requirements.get_gpu_info()
    assert facts == GpuInfo("NVIDIA A10", "8.6", "13.1", 13, 24 << 30)
    assert (str(facts), facts.architecture) == ("NVIDIA A10 (8.6)", "sm_86")


def test_the_release_of_the_driver_is_read_where_linux_tells_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tmp_path / "version"
    result.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12\n"
    )
    monkeypatch.setattr(requirements, "_DRIVER_VERSION", result)
    made_up(monkeypatch)
    assert requirements.get_gpu_info().driver == "580.65.06"


def test_a_machine_without_a_gpu_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, error="cuInit failed: no CUDA-capable device is detected")
    with pytest.raises(
        EngineError, match=r"^no GPU: CUDA says 'cuInit failed: no CUDA-capable device .*backend=onnxrt$"
    ):
        requirements.get_gpu_info()


def test_a_gpu_that_is_hidden_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, count=0)
    with pytest.raises(EngineError, match=r"^no GPU 0: CUDA sees 0; look at nvidia-smi and at CUDA_VISIBLE_DEVICES$"):
        requirements.get_gpu_info()


def test_pycuda_that_is_not_installed_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pycuda", ModuleNotFoundError("No module named 'pycuda'", name="pycuda"))
    with pytest.raises(EngineError, match=r"needs the Python package 'pycuda', .* pip install '\.\[tensorrt\]'$"):
        requirements.import_pycuda()


def test_a_machine_without_a_driver_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pycuda", ImportError("libcuda.so.1: cannot open shared object file"))
    with pytest.raises(EngineError, match=r"^no NVIDIA driver: libcuda\.so\.1: .*; install the driver, or use backend"):
        requirements.import_pycuda()
