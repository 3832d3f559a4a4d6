"""What is here: versions, the GPU, and whether PyTorch and TensorRT reach it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from engines.backends.auto import why_no_gpu, why_no_tensorrt, why_no_torch_cuda
from engines.errors import install_hint
from export.gpu_selftest.results import AbsentError, FailedError, Found, Work

PACKAGES = (
    *("posestream", "torch", "triton", "tensorrt", "pycuda", "cuda-bindings", "nvidia-cuda-nvrtc"),
    *("onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy"),
)
_QUERY = ("name", "compute_cap", "memory.total", "driver_version")


def machine(work: Work) -> Found:  # noqa: ARG001 - every step is given it
    """Versions of everything that takes part."""
    versions = {package: _version(package) for package in PACKAGES}
    system = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    here = ", ".join(f"{name} {versions[name]}" for name in PACKAGES[:5] if versions[name])
    return Found(f"{here}; Python {system['python']}, {system['system']} {system['machine']}", {**system, **versions})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def gpu(work: Work) -> Found:  # noqa: ARG001
    """The GPUs that the driver lists."""
    if why := why_no_gpu():
        raise AbsentError(why, "all that needs one is left out")
    listed = nvidia_smi()
    if not listed:
        return Found("NVIDIA's driver is here, nvidia-smi is not or says nothing")
    return Found("; ".join(map(_told, listed)), {"gpus": listed})


def _told(card: dict[str, str]) -> str:
    return f"{card['name']} ({card['compute_cap']}), {card['memory.total']}, driver {card['driver_version']}"


def nvidia_smi() -> list[dict[str, str]]:
    """What nvidia-smi says of every GPU; nothing where it is not there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        raise FailedError(f"nvidia-smi says: {(answer.stdout + answer.stderr).strip()}", "mend the driver first")
    rows = (line.split(", ") for line in answer.stdout.strip().splitlines())
    return [dict(zip(_QUERY, row, strict=True)) for row in rows if len(row) == len(_QUERY)]


def torch_cuda(work: Work) -> Found:  # noqa: ARG001
    """PyTorch computes something on the GPU."""
    if why := why_no_torch_cuda():
        raise AbsentError(why, "the kernel and the backend torch are left out")
    import torch

    told = f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}"
    if not torch.cuda.is_available():
        raise FailedError(f"{told} finds no GPU", "update the driver, or install PyTorch for the CUDA that it serves")
    if float((torch.ones(32, 32, device="cuda") @ torch.ones(32, 32, device="cuda")).sum()) != 32**3:
        raise FailedError(f"{told} multiplies two matrices wrongly", "look at dmesg (Xid): the GPU may be broken")
    name, sm = torch.cuda.get_device_name(), "{}.{}".format(*torch.cuda.get_device_capability())
    figures = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return Found(f"{told} computes on {name} ({sm})", {**figures, "gpu": name, "sm": sm})


def tensorrt(work: Work) -> Found:  # noqa: ARG001
    """TensorRT and PyCUDA are here, fit each other and the GPU."""
    if why := why_no_tensorrt():
        raise AbsentError(why, "engines are left out")
    from engines.backends.trt import requirements

    release = str(requirements.import_tensorrt().__version__)
    facts = requirements.get_gpu_info()
    requirements.check_gpu(release, facts)
    figures = {"tensorrt": release, "gpu": facts.name, "sm": facts.sm, "driver": facts.driver, "cuda": facts.cuda_major}
    return Found(f"TensorRT {release} on {facts}, driver {facts.driver}, CUDA {facts.cuda_major}", figures)


def require_exporter() -> None:
    """Raise :class:`AbsentError` where what exports networks is not installed."""
    absent = [name for name in ("torch", "onnx", "onnxscript", "safetensors") if importlib.util.find_spec(name) is None]
    if absent:
        raise AbsentError(f"{', '.join(absent)} is not installed", install_hint("torch"))


def architecture() -> str:
    """``sm_90`` of the first GPU; '' where nobody can tell."""
    if why_no_gpu():
        return ""
    listed = nvidia_smi()
    if listed:
        return f"sm_{listed[0]['compute_cap'].replace('.', '')}"
    if why_no_torch_cuda():
        return ""
    import torch

    return "sm_{}{}".format(*torch.cuda.get_device_capability()) if torch.cuda.is_available() else ""
