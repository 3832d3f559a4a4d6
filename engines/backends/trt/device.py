"""The GPU that a process would run on: its name, architecture, memory and driver, read through PyCUDA.

Nothing here takes a CUDA context, so asking costs no device memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from engines.errors import EngineError

EXTRA = "pip install 'posestream[tensorrt]'"
_RELEASE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class DeviceFacts:
    """One GPU.

    ``sm`` is its compute capability, such as ``9.0``. ``driver`` is the driver's release where Linux tells it
    (``580.65.06``), else the newest CUDA it serves (``13.0``); ``cuda_major`` is the first number of the latter.
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


def facts(ordinal: int = 0) -> DeviceFacts:
    """The GPU ``ordinal`` of those that CUDA_VISIBLE_DEVICES leaves.

    Raises :class:`EngineError` in one line where PyCUDA, the driver or the GPU is missing.
    """
    driver = cuda_driver()
    count = _initialised(driver)
    if ordinal >= count:
        raise EngineError(f"no GPU {ordinal}: CUDA sees {count}; look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    device = driver.Device(ordinal)
    cuda = int(driver.get_driver_version())
    return DeviceFacts(
        name=device.name(),
        sm="{}.{}".format(*device.compute_capability()),
        driver=_driver_release() or f"{cuda // 1000}.{cuda % 1000 // 10}",
        cuda_major=cuda // 1000,
        memory_bytes=int(device.total_memory()),
    )


def cuda_driver() -> ModuleType:
    """``pycuda.driver``. Raises :class:`EngineError` where it, or the driver beneath it, is not installed."""
    try:
        import pycuda.driver
    except ModuleNotFoundError as error:
        raise EngineError(
            f"TensorRT needs the Python package {error.name!r}, which is not installed: {EXTRA}"
        ) from error
    except ImportError as error:
        # PyCUDA links to libcuda, which comes with the driver and not from any package.
        raise EngineError(f"no NVIDIA driver: {error}; install the driver, or use backend=onnxrt") from error
    driver: ModuleType = pycuda.driver
    return driver


def _initialised(driver: ModuleType) -> int:
    """How many GPUs there are."""
    try:
        driver.init()
        return int(driver.Device.count())
    except driver.Error as error:
        raise EngineError(
            f"no GPU: CUDA says {str(error).strip()!r}; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, "
            "or use backend=onnxrt"
        ) from error


def _driver_release() -> str:
    """The release of the kernel's driver, '' where it is not told."""
    try:
        words = _RELEASE.read_text().split("\n", 1)[0].split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "")
