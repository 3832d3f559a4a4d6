"""The backend ``onnxrt``: any ``.onnx`` in ONNX Runtime, on CUDA if this build has it, else on the CPU.

``onnxrt:<mode>`` selects one of :data:`MODES`, and ``onnxrt:cuda:1`` the second GPU. A run on the CPU takes one thread,
and several threads may run a session at once (:mod:`engines.inference.side_by_side`). Threads that share a run do
worse: on two shared cores, two that spin took twice the time of one (76 against 35 ms for YOLOX-nano), since a pipeline
has other processes that need the core, and two that sleep gained nothing.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import onnxruntime

from engines.backends.base import check_feeds
from engines.backends.cores import BEST_BATCH, Threads, count_cores
from engines.errors import EngineError, first_line
from engines.spec.cache import cache_folder
from engines.spec.fingerprint import fingerprint_file
from engines.spec.manifest import MANIFEST
from engines.spec.tensors import Array, Description, Tensor

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}

PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Providers without a mode, best first. TensorRT's is left out, as it takes minutes to build on the first frame."""


@dataclass(frozen=True)
class Mode:
    """What ``onnxrt:<mode>`` runs on.

    Of ``providers`` the first is required; the others run the nodes that it does not support. ``package`` brings it:
    two packages of ONNX Runtime in one environment overwrite each other's files. ``device`` says which devices the
    mode may name: a ``number``, a ``type`` of OpenVINO's, or none.
    """

    providers: tuple[str, ...]
    package: str
    device: Literal["", "number", "type"] = ""


_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_GPU_PACKAGE = "onnxruntime-gpu[cuda,cudnn]"

MODES = {
    "cpu": Mode((_CPU,), "onnxruntime"),
    "cuda": Mode((_CUDA, _CPU), _GPU_PACKAGE, "number"),
    "tensorrt": Mode((_TENSORRT, _CUDA, _CPU), _GPU_PACKAGE, "number"),
    "coreml": Mode(("CoreMLExecutionProvider", _CPU), "onnxruntime, on macOS"),
    "directml": Mode(("DmlExecutionProvider", _CPU), "onnxruntime-directml", "number"),
    "openvino": Mode((_OPENVINO, _CPU), "onnxruntime-openvino", "type"),
    "rocm": Mode(("ROCMExecutionProvider", _CPU), "onnxruntime-rocm", "number"),
    "migraphx": Mode(("MIGraphXExecutionProvider", _CPU), "onnxruntime-migraphx", "number"),
}

OPENVINO_DEVICES = ("cpu", "gpu", "npu")
"""The devices of ``onnxrt:openvino``; ``onnxrt:openvino:gpu:1`` is the second GPU."""

ONLY_FATAL = 4
ONLY_ERRORS = 3
"""The log level. Below it, files with initialisers among their inputs (NanoDet's) print a hundred warnings each."""


class OnnxRuntime:
    """An ``.onnx`` file in ONNX Runtime; a :class:`engines.backends.base.Backend`.

    On the CPU, ``threads`` may run it at once.
    """

    def __init__(
        self, path: Path, *, threads: Threads = "auto", providers: tuple[str, ...] = (), device: str = ""
    ) -> None:
        self.path = path
        self.threads = count_cores() if threads == "auto" else threads
        self.providers = providers
        self.device = device
        self._session: Any = None
        self._description: Description | None = None

    def open(self) -> None:
        if self._session is None:
            self._session = self._load()
            self._description = _describe(self._session, self.threads)

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        description = self.describe()
        check_feeds(self.path.name, description.inputs, feeds)
        names = [tensor.name for tensor in description.outputs]
        try:
            outputs = self._session.run(names, dict(feeds), _make_run_options())
        except Exception as error:
            raise EngineError(f"{self.path.name}: ONNX Runtime could not run it: {_get_reason(error)}") from error
        return dict(zip(names, outputs, strict=True))

    def close(self) -> None:
        self._session = None
        self._description = None

    def _load(self) -> Any:
        if not self.path.is_file():
            raise EngineError(f"model {self.path}: there is no such file")
        available = list_providers()
        names = [name for name in self.providers or PREFERRED if name in available]
        session = _create_session(self.path, names, self.device)
        self._check_provider(session)
        return session

    def _check_provider(self, session: Any) -> None:
        """Raise if the required provider could not start; ONNX Runtime leaves it out with a line on stderr."""
        if self.providers and session.get_providers()[0] != self.providers[0]:
            mode = provider_name(self.providers[0])
            full = f"{mode}:{self.device.lower().replace('.', ':')}" if self.device else mode
            raise EngineError(
                f"backend 'onnxrt:{full}': {mode} could not start on this machine and ONNX Runtime "
                f"{onnxruntime.__version__} would run {self.path.name} on {provider_name(session.get_providers()[0])}; "
                f"see 'posestream doctor' for the driver and its libraries, or choose backend=onnxrt:cpu"
            )


def _create_session(path: Path, providers: list[str], device: str) -> Any:
    if "CUDAExecutionProvider" in providers:
        _load_cuda_libraries()
    options = [make_provider_options(name, path, device) for name in providers]
    try:
        return onnxruntime.InferenceSession(
            str(path), make_session_options(providers), providers=providers, provider_options=options
        )
    except Exception as error:
        raise EngineError(
            f"model {path}: ONNX Runtime {onnxruntime.__version__} cannot read it as ONNX "
            f"({_get_reason(error)}); export it, or download it, again"
        ) from error


def make_session_options(providers: Sequence[str] = ()) -> Any:
    """Options of a session whose runs take one thread, which does not spin."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONLY_ERRORS
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if "DmlExecutionProvider" in providers:
        options.enable_mem_pattern = False  # DirectML does not support it
    return options


def _make_run_options() -> Any:
    """Options of one run: the exception has the reason of a failure, which is not logged too."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = ONLY_FATAL
    return options


def create(path: Path, *, threads: Threads = "auto", mode: str = "") -> OnnxRuntime:
    """A backend for ``path``. ``mode`` is one of :data:`MODES`, which is required, as ``cuda`` or ``cuda:1``."""
    if not mode:
        return OnnxRuntime(path, threads=threads)
    name, _, device = mode.partition(":")
    providers = _get_providers(mode, name)
    return OnnxRuntime(path, threads=threads, providers=providers, device=_parse_device(mode, name, device))


def _get_providers(mode: str, name: str) -> tuple[str, ...]:
    """The providers of a mode. Raises :class:`EngineError` listing what is available."""
    if name not in MODES:
        raise EngineError(f"backend 'onnxrt:{mode}': there is no such mode; choose one of {', '.join(MODES)}")
    if MODES[name].providers[0] not in list_providers():
        available = ", ".join(map(provider_name, list_providers()))
        raise EngineError(
            f"backend 'onnxrt:{mode}': this ONNX Runtime {onnxruntime.__version__} has {available}; {name} comes with "
            f"another package: pip uninstall onnxruntime, then pip install '{MODES[name].package}'"
        )
    return MODES[name].providers


def _parse_device(mode: str, name: str, device: str) -> str:
    """The device in a mode as its provider takes it: ``1``, or OpenVINO's ``GPU.1``; empty if none is named."""
    kind = MODES[name].device
    if ":" not in mode or (kind == "number" and device.isdecimal()):
        return device
    word, _, number = device.partition(":")
    if kind == "type" and word in OPENVINO_DEVICES and (number.isdecimal() or device == word):
        return f"{word.upper()}.{int(number)}" if number else word.upper()
    known = {
        "number": f"its devices are numbers, as in {name}:1 for the second",
        "type": f"its devices are {', '.join(OPENVINO_DEVICES)}, and gpu:1 for the second GPU",
        "": f"{name} has one device; leave it out",
    }
    raise EngineError(f"backend 'onnxrt:{mode}': there is no device {device!r}; {known[kind]}")


def list_providers() -> tuple[str, ...]:
    """The providers that this machine's ONNX Runtime was built with."""
    return tuple(cast(list[str], onnxruntime.get_available_providers()))


def provider_name(provider: str) -> str:
    """The name of its mode: ``cuda`` for ``CUDAExecutionProvider``."""
    named = (name for name, mode in MODES.items() if mode.providers[0] == provider)
    return next(named, provider.removesuffix("ExecutionProvider").lower())


def make_provider_options(provider: str, path: Path, device: str = "") -> dict[str, str]:
    """Options of a provider, on ``device`` as it takes it. TensorRT's caches its engines, which take minutes to build.

    Its fp16 option stays off, as the graph has the type of every layer; for the same reason OpenVINO's computes in the
    graph's precision, though a CPU may have bfloat16.
    """
    if provider == _CPU:
        return {}
    if provider == _OPENVINO:
        return {"device_type": device or "CPU", "precision": "ACCURACY", "num_of_threads": "1"}
    chosen = {"device_id": device} if device else {}
    if provider != _TENSORRT:
        return chosen
    folder = _engine_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    return {
        **chosen,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "False",
    }


def _engine_folder(path: Path) -> Path:
    """A folder for each file and release, since ONNX Runtime's names for engines depend on neither.

    For an export it depends on the manifest, which has the digests of both the graph and the weights.
    """
    manifest = path.parent / MANIFEST
    fingerprint = fingerprint_file(manifest if manifest.is_file() else path)
    return cache_folder() / f"onnxrt-{onnxruntime.__version__}-tensorrt" / f"{path.stem}-{fingerprint}"


def _load_cuda_libraries() -> None:
    """Load CUDA's libraries from their Python packages, if installed; the session reports what is missing."""
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find even if nothing is wrong
            onnxruntime.preload_dlls()


def _describe(session: Any, threads: int) -> Description:
    inputs, outputs = (tuple(map(_to_tensor, tensors)) for tensors in (session.get_inputs(), session.get_outputs()))
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    device = provider_name(session.get_providers()[0])
    if device != "cpu":
        return Description(inputs, outputs, device, metadata=metadata)
    return Description(inputs, outputs, device, best_batch=BEST_BATCH, side_by_side=threads, metadata=metadata)


def _to_tensor(argument: Any) -> Tensor:
    """A tensor description in which symbolic sizes (a name, or None) are None."""
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in argument.shape)
    return Tensor(argument.name, shape, DTYPES.get(argument.type, argument.type))


def _get_reason(error: Exception) -> str:
    """The first line of ONNX Runtime's message without its prefix of codes."""
    return first_line(error, 1000).rsplit(" : ", 1)[-1].strip()[:240]
