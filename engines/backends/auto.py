"""``auto``: which backend runs a file on this machine, and the sentence that says why.

Best first: an engine that TensorRT has built for this machine (none is ever built here: that takes minutes), PyTorch on
CUDA where the weights lie beside the graph, ONNX Runtime on CUDA, ONNX Runtime on the processor. It looks at files and
never imports PyTorch or TensorRT to find out that they are missing.
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

from engines.errors import EngineError
from engines.spec.manifest import is_export, read_any_manifest

AUTO = "auto"

_DEVICES = ("nvidia[0-9]*", "dxg", "nvhost-gpu")
"""In /dev: NVIDIA's driver, Windows' Linux, Jetson."""

_DEV = Path("/dev")


@dataclass(frozen=True)
class Choice:
    """A backend, as ``make_backend`` takes it, and why: ``name``, since ``reason``."""

    name: str
    reason: str
    leaves_gpu_idle: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def choose(*graphs: Path, name: str = AUTO) -> Choice:
    """The backend for ``graphs``, one or the two of a network that is cut: ``name`` itself unless that is ``auto``."""
    if name != AUTO:
        return Choice(name, "asked for by name")
    if absent := why_no_gpu():
        return Choice("onnxrt:cpu", absent)
    return _on_gpu(graphs)


def _on_gpu(graphs: Sequence[Path]) -> Choice:
    """The best that is ready; each step down says what the one above lacked."""
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
    """Why this process will not use an NVIDIA GPU, from its environment and the files of the driver; empty if it may.

    The driver is not asked: that takes a tenth of a second, and what is forked from a process that did cannot use it.
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
        # Its own look-up, since only that knows all that an engine depends on.
        plans.get_plan(path, announce=_refuse)
    except EngineError as error:
        return str(error)
    return ""


def _refuse(told: str) -> NoReturn:
    """Called where building would begin."""
    raise EngineError(told)


def why_no_torch(path: Path) -> str:
    """Why PyTorch cannot run ``path`` on CUDA; empty if it can."""
    if not is_export(path.parent):
        return "it is a graph without its weights for PyTorch"
    if read_any_manifest(path.parent).precision == "int8":
        return "PyTorch knows nothing of its int8, which stands in the graph"
    return why_no_torch_cuda()


def why_no_tensorrt() -> str:
    """Why TensorRT cannot run anything; empty if it can."""
    absent = [package for package in ("tensorrt", "pycuda") if _installed(package) is None]
    told = f"TensorRT needs {' and '.join(absent)}, not installed here (pip install 'posestream[tensorrt]')"
    return told if absent else ""


def why_no_torch_cuda() -> str:
    """Why PyTorch cannot run anything on CUDA; empty if it can. Read from files: importing it takes seconds."""
    folder = _installed("torch")
    if folder is None:
        return "PyTorch is not installed (pip install 'posestream[torch]')"
    return "" if _built_for_cuda(folder / "version.py") else "this PyTorch was built without CUDA"


def why_no_provider() -> str:
    """Why ONNX Runtime cannot run anything on CUDA; empty if it can."""
    try:
        from engines.backends.onnxrt import list_providers
    except ModuleNotFoundError as error:
        return f"ONNX Runtime is not installed (no Python package {error.name!r})"
    has_it = "CUDAExecutionProvider" in list_providers()
    return "" if has_it else "this ONNX Runtime has no CUDA (pip install onnxruntime-gpu in place of onnxruntime)"


def _installed(package: str) -> Path | None:
    """The folder of a package, without importing it; None where it is not installed."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def _built_for_cuda(told: Path) -> bool:
    """PyTorch writes ``cuda: Optional[str] = '13.0'``, or None, into that file."""
    return told.is_file() and bool(re.search(r"^cuda\b[^=\n]*= *['\"]", told.read_text("utf-8"), re.MULTILINE))
