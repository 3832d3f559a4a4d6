"""ONNX Runtime: any ``.onnx``, on the CPU unless this machine's runtime has CUDA.

One thread by default, and never a spinning one: measured on two shared cores, two spinning threads took twice the time
of one (76 against 35 ms for YOLOX-nano), since a line has other processes that want the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import onnxruntime

from engines.backends.base import Array, Description, Tensor, check_feeds
from engines.errors import EngineError

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""``auto``, best first. TensorRT's provider is left out: it spends minutes building on the first frame."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""By the mode in ``onnxrt:<mode>``."""

ONLY_ERRORS = 3
"""Below this, files that list initialisers as inputs (NanoDet's) print a hundred warnings each."""


class OnnxRuntime:
    """A ``.onnx`` file run by ONNX Runtime."""

    def __init__(self, path: Path, *, threads: int = 1, providers: tuple[str, ...] = ()) -> None:
        self.path = path
        self.threads = threads
        self.providers = providers
        self._session: Any = None
        self._description: Description | None = None

    def open(self) -> None:
        if self._session is None:
            self._session = self._load()
            self._description = _describe(self._session)

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        description = self.describe()
        check_feeds(self.path.name, description.inputs, feeds)
        names = [tensor.name for tensor in description.outputs]
        try:
            outputs = self._session.run(names, dict(feeds))
        except Exception as error:
            raise EngineError(f"{self.path.name}: ONNX Runtime could not run it: {_first_line(error)}") from error
        return dict(zip(names, outputs, strict=True))

    def close(self) -> None:
        self._session = None
        self._description = None

    def _load(self) -> Any:
        if not self.path.is_file():
            raise EngineError(f"model {self.path}: there is no such file")
        providers = list(self.providers) or [name for name in PREFERRED if name in available_providers()]
        try:
            return onnxruntime.InferenceSession(str(self.path), self._options(), providers=providers)
        except Exception as error:
            raise EngineError(
                f"model {self.path}: ONNX Runtime {onnxruntime.__version__} cannot read it as ONNX "
                f"({_first_line(error)}); export it, or download it, again"
            ) from error

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def create(path: Path, *, threads: int = 1, mode: str = "") -> OnnxRuntime:
    """What ``make_backend`` calls. ``mode``: ``cpu``, ``cuda`` or ``tensorrt``, the provider that must be there."""
    return OnnxRuntime(path, threads=threads, providers=(PROVIDERS[mode],) if mode else ())


def available_providers() -> tuple[str, ...]:
    """The providers that this machine's ONNX Runtime was built with."""
    return tuple(cast(list[str], onnxruntime.get_available_providers()))


def _describe(session: Any) -> Description:
    inputs, outputs = (tuple(map(_tensor, tensors)) for tensors in (session.get_inputs(), session.get_outputs()))
    return Description(inputs, outputs, device=session.get_providers()[0].removesuffix("ExecutionProvider").lower())


def _tensor(argument: Any) -> Tensor:
    """Symbolic sizes (a name, or None) become None."""
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in argument.shape)
    return Tensor(argument.name, shape, DTYPES.get(argument.type, argument.type))


def _first_line(error: Exception) -> str:
    """ONNX Runtime's own words without their prefix of codes, in one line."""
    return (
        str(error).strip().splitlines()[0].rsplit(" : ", 1)[-1].strip() if str(error).strip() else type(error).__name__
    )
