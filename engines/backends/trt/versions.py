"""Which TensorRT this is written for, and one line for each way in which there is none.

``tensorrt`` is imported nowhere but in modules of this package and in plugins; each is reached through
:func:`require` first, so that nobody meets an ImportError.
"""

from __future__ import annotations

import re
from types import ModuleType

from engines.backends.trt.device import EXTRA, DeviceFacts
from engines.errors import EngineError

OLDEST = (10, 13)
"""The first release with strongly typed networks, ahead-of-time plugins and all names that are used here."""
NEWEST_MAJOR = 11
CUDA_OF = {10: 12, 11: 13}
"""The oldest CUDA whose driver a major release of TensorRT runs on."""
OLDEST_SM = (7, 5)
"""TensorRT 10.5 dropped what is older."""


def require() -> ModuleType:
    """``tensorrt``, of a version that is supported, with its libraries.

    Raises :class:`EngineError` in one line where it is missing, incomplete, too old or too new.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise EngineError(f"TensorRT is not installed (no Python package {error.name!r}): {EXTRA}") from error
    except (ImportError, OSError) as error:
        raise EngineError(
            f"TensorRT's Python package is here, but a library it needs is not ({error}): "
            f"{EXTRA} --force-reinstall, or put its folder into LD_LIBRARY_PATH"
        ) from error
    module: ModuleType = tensorrt
    check_version(module.__version__)
    return module


def check_version(version: str) -> None:
    """Raise :class:`EngineError` unless ``version``, such as ``10.13.3.9``, is one that is supported."""
    numbers = _numbers(version)
    if numbers < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old: posestream needs {_told(OLDEST)} or newer; {EXTRA} --upgrade"
        )
    if numbers[0] > NEWEST_MAJOR:
        raise EngineError(
            f"TensorRT {version} is newer than any that posestream knows ({_told(OLDEST)} to {NEWEST_MAJOR}.x): "
            f"pip install 'tensorrt<{NEWEST_MAJOR + 1}'"
        )


def check_device(version: str, facts: DeviceFacts) -> None:
    """Raise :class:`EngineError` where this TensorRT cannot run on this GPU or with this driver."""
    major = _numbers(version)[0]
    needed = CUDA_OF[major]
    if facts.cuda_major < needed:
        raise EngineError(
            f"TensorRT {version} needs a driver for CUDA {needed}, the driver of {facts} serves CUDA "
            f"{facts.cuda_major}: update the driver, or pip install 'tensorrt<{major}'"
        )
    if _numbers(facts.sm) < OLDEST_SM:
        raise EngineError(
            f"TensorRT {version} does not run on {facts}: it needs compute capability {_told(OLDEST_SM)} or newer; "
            "use backend=onnxrt or torch"
        )


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise EngineError(f"TensorRT calls its version {version!r}, which is no number; reinstall it: {EXTRA}")
    return int(found[1]), int(found[2])


def _told(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"
