"""The first steps: versions, the GPU, and whether PyTorch and TensorRT can use it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess

from engines.backends.auto import why_no_gpu, why_no_tensorrt, why_no_torch_cuda
from engines.errors import install_hint
from export.artifacts import find_version
from export.gpu_selftest.results import AbsentError, FailedError, Found, Work

PACKAGES = (
    *("posestream", "torch", "triton", "tensorrt", "pycuda", "cuda-bindings", "nvidia-cuda-nvrtc"),
    *("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy"),
)
_QUERY = ("name", "compute_cap", "memory.total", "driver_version")


def report_versions(work: Work) -> Found:  # noqa: ARG001 - every step takes it
    """Versions of all packages involved."""
    versions = {package: find_version(package) for package in PACKAGES}
    system = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    installed = ", ".join(f"{name} {versions[name]}" for name in PACKAGES[:5] if versions[name])
    return Found(
        f"{installed}; Python {system['python']}, {system['system']} {system['machine']}", {**system, **versions}
    )


def find_gpus(work: Work) -> Found:  # noqa: ARG001
    """The GPUs that the driver lists."""
    if why := why_no_gpu():
        raise AbsentError(why, "steps that need one are skipped")
    cards = query_nvidia_smi()
    if not cards:
        return Found("NVIDIA's driver is installed; nvidia-smi is missing or lists nothing")
    return Found("; ".join(map(_describe_card, cards)), {"gpus": cards})


def _describe_card(card: dict[str, str]) -> str:
    return f"{card['name']} ({card['compute_cap']}), {card['memory.total']}, driver {card['driver_version']}"


def query_nvidia_smi() -> list[dict[str, str]]:
    """What nvidia-smi lists for every GPU; nothing if it is not installed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        raise FailedError(f"nvidia-smi says: {(answer.stdout + answer.stderr).strip()}", "repair the driver first")
    rows = (line.split(", ") for line in answer.stdout.strip().splitlines())
    return [dict(zip(_QUERY, row, strict=True)) for row in rows if len(row) == len(_QUERY)]


def check_torch(work: Work) -> Found:  # noqa: ARG001
    """PyTorch computes something on the GPU."""
    if why := why_no_torch_cuda():
        raise AbsentError(why, "the kernel and the backend torch are skipped")
    import torch

    build = f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}"
    if not torch.cuda.is_available():
        raise FailedError(f"{build} finds no GPU", "update the driver, or install PyTorch for the CUDA it supports")
    if float((torch.ones(32, 32, device="cuda") @ torch.ones(32, 32, device="cuda")).sum()) != 32**3:
        raise FailedError(f"{build} multiplies two matrices wrongly", "look at dmesg (Xid): the GPU may be broken")
    name, sm = torch.cuda.get_device_name(), "{}.{}".format(*torch.cuda.get_device_capability())
    figures = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return Found(f"{build} computes on {name} ({sm})", {**figures, "gpu": name, "sm": sm})


def check_tensorrt(work: Work) -> Found:  # noqa: ARG001
    """TensorRT and PyCUDA are installed and support each other and the GPU."""
    if why := why_no_tensorrt():
        raise AbsentError(why, "engines are skipped")
    from engines.backends.trt import requirements

    release = str(requirements.import_tensorrt().__version__)
    gpu = requirements.get_gpu_info()
    requirements.check_gpu(release, gpu)
    figures = {"tensorrt": release, "gpu": gpu.name, "sm": gpu.sm, "driver": gpu.driver, "cuda": gpu.cuda_major}
    return Found(f"TensorRT {release} on {gpu}, driver {gpu.driver}, CUDA {gpu.cuda_major}", figures)


def require_exporter() -> None:
    """Raise :class:`AbsentError` if a package that exports need is not installed."""
    absent = [name for name in ("torch", "onnx", "onnxscript", "safetensors") if importlib.util.find_spec(name) is None]
    if absent:
        raise AbsentError(f"{', '.join(absent)} is not installed", install_hint("torch"))


def find_architecture() -> str:
    """The architecture of the first GPU, such as ``sm_90``; '' if it is unknown."""
    if why_no_gpu():
        return ""
    cards = query_nvidia_smi()
    if cards:
        return f"sm_{cards[0]['compute_cap'].replace('.', '')}"
    if why_no_torch_cuda():
        return ""
    import torch

    return "sm_{}{}".format(*torch.cuda.get_device_capability()) if torch.cuda.is_available() else ""
