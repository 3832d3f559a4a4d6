"""ONNX Runtime: any ``.onnx``, on the CPU unless this machine's runtime has CUDA; by name on any of ``PROVIDERS``.

One thread by default, and never a spinning one: measured on two shared cores, two spinning threads took twice the time
of one (76 against 35 ms for YOLOX-nano), since a line has other processes that want the core.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import onnxruntime

from engines.backends.base import check_feeds
from engines.errors import EngineError
from engines.spec.cache import cache_folder
from engines.spec.fingerprint import fingerprint_file
from engines.spec.manifest import MANIFEST
from engines.spec.tensors import Array, Description, Tensor

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

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""By the mode in ``onnxrt:<mode>``: the first is what is asked for, the others take the nodes it does not know."""

PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu[cuda,cudnn]", "tensorrt": "onnxruntime-gpu[cuda,cudnn]"}
"""Where a provider comes from. Two packages of ONNX Runtime in one environment write over each other's files."""

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
        there = list_providers()
        wanted = [name for name in self.providers or PREFERRED if name in there]
        session = self._session_on(wanted)
        self._check_provider(session)
        return session

    def _session_on(self, providers: list[str]) -> Any:
        if "CUDAExecutionProvider" in providers:
            _find_cuda_libraries()
        told = [provider_options(name, self.path) for name in providers]
        try:
            return onnxruntime.InferenceSession(
                str(self.path), self._options(), providers=providers, provider_options=told
            )
        except Exception as error:
            raise EngineError(
                f"model {self.path}: ONNX Runtime {onnxruntime.__version__} cannot read it as ONNX "
                f"({_first_line(error)}); export it, or download it, again"
            ) from error

    def _check_provider(self, session: Any) -> None:
        """A provider that cannot begin is left out by ONNX Runtime, with a word on stderr; here that is an error."""
        if self.providers and session.get_providers()[0] != self.providers[0]:
            mode = provider_name(self.providers[0])
            raise EngineError(
                f"backend 'onnxrt:{mode}': {mode} could not begin on this machine and ONNX Runtime "
                f"{onnxruntime.__version__} would run {self.path.name} on {provider_name(session.get_providers()[0])}; "
                f"see 'posestream doctor' for the driver and its libraries, or choose backend=onnxrt:cpu"
            )

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def create(path: Path, *, threads: int = 1, mode: str = "") -> OnnxRuntime:
    """What ``make_backend`` calls. ``mode``: ``cpu``, ``cuda`` or ``tensorrt``, the provider that must be there."""
    return OnnxRuntime(path, threads=threads, providers=_providers_of(mode) if mode else ())


def _providers_of(mode: str) -> tuple[str, ...]:
    """What ``onnxrt:<mode>`` asks for. Raises :class:`EngineError` naming what there is instead."""
    if mode not in PROVIDERS:
        raise EngineError(f"backend 'onnxrt:{mode}': there is no such mode; choose one of {', '.join(PROVIDERS)}")
    if PROVIDERS[mode][0] not in list_providers():
        here = ", ".join(map(provider_name, list_providers()))
        raise EngineError(
            f"backend 'onnxrt:{mode}': this ONNX Runtime {onnxruntime.__version__} has {here}; {mode} comes with "
            f"another package: pip uninstall onnxruntime, then pip install '{PACKAGES[mode]}'"
        )
    return PROVIDERS[mode]


def list_providers() -> tuple[str, ...]:
    """The providers that this machine's ONNX Runtime was built with."""
    return tuple(cast(list[str], onnxruntime.get_available_providers()))


def provider_name(provider: str) -> str:
    """``cuda`` for ``CUDAExecutionProvider``."""
    return provider.removesuffix("ExecutionProvider").lower()


def provider_options(provider: str, path: Path) -> dict[str, str]:
    """What a provider is told. TensorRT's keeps its engines, which take minutes to build, in this user's cache.

    Its fp16 stays off: which type a layer computes in stands in the graph.
    """
    if provider != "TensorrtExecutionProvider":
        return {}
    folder = _engine_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "False",
    }


def _engine_folder(path: Path) -> Path:
    """One for every file and release: ONNX Runtime's own names for engines know neither the weights nor its version.

    The weights of an export lie in another file than its graph, and its manifest has the digests of both.
    """
    beside = path.parent / MANIFEST
    mark = fingerprint_file(beside if beside.is_file() else path)
    return cache_folder() / f"onnxrt-{onnxruntime.__version__}-tensorrt" / f"{path.stem}-{mark}"


def _find_cuda_libraries() -> None:
    """Load CUDA's libraries from their Python packages, where they are; what is missing shows in the session."""
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not find, also where nothing is wrong
            onnxruntime.preload_dlls()


def _describe(session: Any) -> Description:
    inputs, outputs = (tuple(map(_tensor, tensors)) for tensors in (session.get_inputs(), session.get_outputs()))
    return Description(inputs, outputs, device=provider_name(session.get_providers()[0]))


def _tensor(argument: Any) -> Tensor:
    """Symbolic sizes (a name, or None) become None."""
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in argument.shape)
    return Tensor(argument.name, shape, DTYPES.get(argument.type, argument.type))


def _first_line(error: Exception) -> str:
    """ONNX Runtime's own words without their prefix of codes, in one line."""
    return (
        str(error).strip().splitlines()[0].rsplit(" : ", 1)[-1].strip() if str(error).strip() else type(error).__name__
    )
