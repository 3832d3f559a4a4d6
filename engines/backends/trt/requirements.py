"""TensorRT's requirements: a supported release, PyCUDA, a driver and a GPU. Each that is missing has its own error.

``tensorrt`` and ``pycuda`` are imported only by modules of this package and by plugins, and through the functions here
first, so that a missing package is an :class:`EngineError` with a remedy and not an ImportError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from engines.errors import EngineError, install_hint

INSTALL = install_hint("tensorrt")

OLDEST = (10, 13)
"""The first release with strongly typed networks, ahead-of-time plugins and all names that are used here."""
NEWEST_MAJOR = 11
OLDEST_CUDA = {10: 12, 11: 13}
"""The oldest CUDA whose driver a major release of TensorRT runs on."""
OLDEST_SM = (7, 5)
"""TensorRT 10.5 dropped what is older."""

_DRIVER_VERSION = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class GpuInfo:
    """One GPU.

    ``sm`` is its compute capability, such as ``9.0``. ``driver`` is the driver's release where Linux gives it
    (``580.65.06``), else the newest CUDA that the driver supports (``13.0``); ``cuda_major`` is the latter's first
    number.
    """

    name: str
    sm: str
    driver: str
    cuda_major: int
    memory_bytes: int

    @property
    def architecture(self) -> str:
        """What compilers call it: ``sm_90``."""
        return f"sm_{self.sm.replace('.', '')}"

    def __str__(self) -> str:
        return f"{self.name} ({self.sm})"


def import_tensorrt() -> ModuleType:
    """``tensorrt``, of a supported version, with its libraries.

    Raises :class:`EngineError` if it is missing, incomplete, too old or too new.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise EngineError(f"TensorRT is not installed (no Python package {error.name!r}); {INSTALL}") from error
    except (ImportError, OSError) as error:
        raise EngineError(
            f"TensorRT's Python package is installed, but a library it needs is not ({error}): "
            f"{install_hint('tensorrt', '--force-reinstall')}, or add its folder to LD_LIBRARY_PATH"
        ) from error
    module: ModuleType = tensorrt
    check_version(module.__version__)
    return module


def import_pycuda() -> ModuleType:
    """``pycuda.driver``. Raises :class:`EngineError` if it, or the driver beneath it, is not installed."""
    try:
        import pycuda.driver
    except ModuleNotFoundError as error:
        raise EngineError(
            f"TensorRT needs the Python package {error.name!r}, which is not installed; {INSTALL}"
        ) from error
    except ImportError as error:
        # PyCUDA links to libcuda, which comes with the driver and not from any package.
        raise EngineError(f"no NVIDIA driver: {error}; install the driver, or use backend=onnxrt") from error
    driver: ModuleType = pycuda.driver
    return driver


def get_gpu_info(ordinal: int = 0) -> GpuInfo:
    """The GPU ``ordinal`` of those that CUDA_VISIBLE_DEVICES leaves. Takes no CUDA context, so no device memory.

    Raises :class:`EngineError` if PyCUDA, the driver or the GPU is missing.
    """
    driver = import_pycuda()
    count = _count_gpus(driver)
    if ordinal >= count:
        raise EngineError(f"no GPU {ordinal}: CUDA sees {count}; look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    device = driver.Device(ordinal)
    cuda = int(driver.get_driver_version())
    return GpuInfo(
        name=device.name(),
        sm="{}.{}".format(*device.compute_capability()),
        driver=_read_driver_release() or f"{cuda // 1000}.{cuda % 1000 // 10}",
        cuda_major=cuda // 1000,
        memory_bytes=int(device.total_memory()),
    )


def check_version(version: str) -> None:
    """Raise :class:`EngineError` unless ``version``, such as ``10.13.3.9``, is supported."""
    numbers = _parse_version(version)
    if numbers < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old: posestream needs {_format_version(OLDEST)} or newer; "
            + install_hint("tensorrt", "--upgrade")
        )
    if numbers[0] > NEWEST_MAJOR:
        raise EngineError(
            f"TensorRT {version} is newer than posestream supports ({_format_version(OLDEST)} to {NEWEST_MAJOR}.x): "
            f"pip install 'tensorrt<{NEWEST_MAJOR + 1}'"
        )


def check_gpu(version: str, gpu: GpuInfo) -> None:
    """Raise :class:`EngineError` if this TensorRT cannot run on this GPU or with this driver."""
    major = _parse_version(version)[0]
    needed = OLDEST_CUDA[major]
    if gpu.cuda_major < needed:
        raise EngineError(
            f"TensorRT {version} needs a driver for CUDA {needed}, the driver of {gpu} supports CUDA "
            f"{gpu.cuda_major}: update the driver, or pip install 'tensorrt<{major}'"
        )
    if _parse_version(gpu.sm) < OLDEST_SM:
        raise EngineError(
            f"TensorRT {version} does not run on {gpu}: it needs compute capability {_format_version(OLDEST_SM)} or "
            "newer; use backend=onnxrt or torch"
        )


def _count_gpus(driver: ModuleType) -> int:
    try:
        driver.init()
        return int(driver.Device.count())
    except driver.Error as error:
        raise EngineError(
            f"no GPU: CUDA says {str(error).strip()!r}; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, "
            "or use backend=onnxrt"
        ) from error


def _read_driver_release() -> str:
    """The release of the kernel's driver, '' if it cannot be read."""
    try:
        words = _DRIVER_VERSION.read_text().split("\n", 1)[0].split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "")


def _parse_version(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise EngineError(f"TensorRT's version {version!r} is not a number; reinstall it: {INSTALL}")
    return int(found[1]), int(found[2])


def _format_version(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"
