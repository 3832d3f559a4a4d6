"""The backend ``auto``: the best one available for a graph on this machine, and why.

In order of preference: a TensorRT engine that was built for this machine (none is built here, which takes minutes),
PyTorch on CUDA if the graph has weights for it, ONNX Runtime on CUDA, ONNX Runtime on the CPU. IR and TFLite are run by
OpenVINO. The choice is made from files, without importing PyTorch or TensorRT.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engines.errors import EngineError, install_hint
from engines.spec.manifest import is_export, read_any_manifest
from engines.spec.model_files import IR, TFLITE

AUTO = "auto"

_DEVICES = ("nvidia[0-9]*", "dxg", "nvhost-gpu")
"""Patterns in /dev: NVIDIA's driver, WSL and Jetson."""

_DEV = Path("/dev")


@dataclass(frozen=True)
class Choice:
    """A backend ``name``, as ``make_backend`` takes it, and the ``reason`` for it."""

    name: str
    reason: str
    leaves_gpu_idle: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def choose(*graphs: Path, name: str = AUTO) -> Choice:
    """The backend for ``graphs``, a fused graph or backbone and head: ``name`` itself unless that is ``auto``."""
    if name != AUTO:
        return Choice(name, "asked for by name")
    if others := {path.suffix for path in graphs} & {IR, TFLITE}:
        return Choice("openvino:cpu", f"only OpenVINO reads {min(others)}")
    if absent := why_no_gpu():
        return Choice("onnxrt:cpu", absent)
    return _choose_for_gpu(graphs)


def _choose_for_gpu(graphs: Sequence[Path]) -> Choice:
    """The best backend that is ready; the reason lists what the better ones lack."""
    lacking = [next(filter(None, map(why_no_engine, graphs)), "")]
    if not lacking[-1]:
        return Choice("tensorrt:nobuild", "its engines are already built for this machine")
    lacking.append(why_no_torch(graphs[0]))
    if not lacking[-1]:
        return Choice("torch", f"PyTorch has CUDA; {lacking[0]}")
    lacking.append(why_no_provider())
    if not lacking[-1]:
        return Choice("onnxrt:cuda", "; ".join(lacking[:2]))
    return Choice("onnxrt:cpu", "there is an NVIDIA GPU, but " + "; ".join(lacking), leaves_gpu_idle=True)


def why_no_gpu() -> str:
    """Why this process cannot use an NVIDIA GPU, from its environment and the driver's files; empty if it can.

    The driver itself is not called: that takes 0.1 s, and after it a forked process cannot use the GPU.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    return "" if _has_driver() else "no NVIDIA GPU is on this machine"


def _has_driver() -> bool:
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").is_file()
    return any(any(_DEV.glob(pattern)) for pattern in _DEVICES)


def why_no_engine(path: Path) -> str:
    """Why TensorRT cannot run ``path`` at once; empty if it can."""
    if absent := why_no_tensorrt():
        return absent
    from engines.backends.trt import cache

    if not any(cache.engine_folder(path.parent).glob(f"{path.stem}-*.engine")):
        return "TensorRT has built no engine of it here (posestream export … --to tensorrt)"
    from engines.backends.trt import plans

    try:
        # The look-up of TensorRT's backend, which checks everything that an engine depends on.
        plans.get_plan(path, announce=_refuse_to_build)
    except EngineError as error:
        return str(error)
    return ""


def _refuse_to_build(message: str) -> NoReturn:
    raise EngineError(message)


def why_no_torch(path: Path) -> str:
    """Why PyTorch cannot run ``path`` on CUDA; empty if it can."""
    if not is_export(path.parent):
        return "it is a graph without its weights for PyTorch"
    if read_any_manifest(path.parent).precision == "int8":
        return "it is int8, which only its graph has, not PyTorch"
    return why_no_torch_cuda()


def why_no_tensorrt() -> str:
    """Why TensorRT cannot run anything; empty if it can."""
    absent = [package for package in ("tensorrt", "pycuda") if _find_package(package) is None]
    message = f"TensorRT needs {' and '.join(absent)}, not installed here ({install_hint('tensorrt')})"
    return message if absent else ""


def why_no_torch_cuda() -> str:
    """Why PyTorch cannot run anything on CUDA, from its files, as importing it takes seconds; empty if it can."""
    folder = _find_package("torch")
    if folder is None:
        return f"PyTorch is not installed ({install_hint('torch')})"
    return "" if _has_cuda(folder / "version.py") else "this PyTorch was built without CUDA"


def why_no_provider() -> str:
    """Why ONNX Runtime cannot run anything on CUDA; empty if it can."""
    try:
        from engines.backends.onnxrt import list_providers
    except ModuleNotFoundError as error:
        return f"ONNX Runtime is not installed (no Python package {error.name!r})"
    has_cuda = "CUDAExecutionProvider" in list_providers()
    return "" if has_cuda else "this ONNX Runtime has no CUDA (pip install onnxruntime-gpu in place of onnxruntime)"


def _find_package(package: str) -> Path | None:
    """The folder of a package, without importing it; None if it is not installed."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def _has_cuda(version_file: Path) -> bool:
    """True if the file has a line such as ``cuda: Optional[str] = '13.0'``, and not None."""
    pattern = re.compile(r"^cuda\b[^=\n]*= *['\"]", re.MULTILINE)
    return version_file.is_file() and bool(pattern.search(version_file.read_text("utf-8")))
