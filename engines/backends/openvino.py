"""The backend ``openvino``: ONNX, OpenVINO's IR (``.xml`` and ``.bin``) and TFLite in OpenVINO, in their own precision.

``openvino:<device>`` selects one of :data:`DEVICES`, and ``openvino:gpu:1`` the second of them; without it, the CPU
runs. A run on the CPU takes one thread, and several threads may run a network at once, as with ONNX Runtime. They are
not bound to cores: a pipeline's processes would all be bound to the same ones.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends.base import check_feeds
from engines.backends.cores import BEST_BATCH, Threads, count_cores
from engines.errors import EngineError
from engines.spec.cache import cache_folder
from engines.spec.model_files import IR, MODEL_SUFFIXES, ONNX, TFLITE, list_files
from engines.spec.tensors import Array, Description, Tensor

_TELEMETRY = "openvino_telemetry"


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep OpenVINO from importing its telemetry, which reports every import to its maker and writes into the home.

    OpenVINO runs without that package; None in ``sys.modules`` is how Python marks one that cannot be imported.
    """
    modules: dict[str, Any] = sys.modules
    own = {name: modules.pop(name) for name in list(modules) if name.partition(".")[0] == _TELEMETRY}
    modules[_TELEMETRY] = None
    try:
        yield
    finally:
        del modules[_TELEMETRY]
        modules.update(own)


with _without_telemetry():
    import openvino
    from openvino.frontend import FrontEndManager


SUFFIXES = MODEL_SUFFIXES
"""The files that this backend reads."""

READERS = {ONNX: "onnx", IR: "ir", TFLITE: "tflite"}
"""OpenVINO's names of the formats. Given none, it tries every one, which prints the complaints of all."""

DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}
"""OpenVINO's names of the devices."""

DRIVERS = {"GPU": "Intel's GPU driver (on Debian and Ubuntu intel-opencl-icd)", "NPU": "Intel's NPU driver"}
"""What finds each device other than the CPU."""


class OpenVino:
    """A network in OpenVINO; a :class:`engines.backends.base.Backend`. On the CPU, ``threads`` may run it at once."""

    def __init__(self, path: Path, *, threads: Threads = "auto", mode: str = "") -> None:
        self.path = path
        self.threads = count_cores() if threads == "auto" else threads
        self.mode = mode or "cpu"
        self.device = _parse_device(self.mode)
        self._requests: deque[Any] = deque()
        self._description: Description | None = None

    def open(self) -> None:
        if self._description is None:
            compiled = self._compile(self._read())
            count = self.threads if self.device == "CPU" else 1
            self._requests = deque(compiled.create_infer_request() for _ in range(count))
            self._description = _describe(compiled, count)

    def describe(self) -> Description:
        if self._description is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        description = self.describe()
        check_feeds(self.path.name, description.inputs, feeds)
        requests = self._requests
        request = requests.pop()  # atomic; each thread runs one of its own
        try:
            found = request.infer([np.ascontiguousarray(feeds[tensor.name]) for tensor in description.inputs])
        except Exception as error:
            raise EngineError(f"{self.path.name}: OpenVINO could not run it: {_get_reason(error)}") from error
        finally:
            requests.append(request)
        arrays = [found[number] for number in range(len(description.outputs))]
        return {tensor.name: array for tensor, array in zip(description.outputs, arrays, strict=True)}

    def close(self) -> None:
        self._requests = deque()
        self._description = None

    def _read(self) -> Any:
        missing = [path for path in list_files(self.path) if not path.is_file()]
        if missing and missing[0] == self.path:
            raise EngineError(f"model {self.path}: there is no such file")
        if missing:
            raise EngineError(f"model {self.path}: its weights {missing[0].name} are not beside it; copy both files")
        try:
            reader = FrontEndManager().load_by_framework(READERS[self.path.suffix])
            model = reader.convert(reader.load(str(self.path)))
            return _give_real_outputs(model) if self.path.suffix == TFLITE else model
        except Exception as error:
            raise EngineError(
                f"model {self.path}: OpenVINO {_get_version()} cannot read it as {READERS[self.path.suffix]} "
                f"({_get_reason(error)}); {_get_remedy(error)}"
            ) from error

    def _compile(self, model: Any) -> Any:
        core = openvino.Core()
        self._check_device(core)
        try:
            return core.compile_model(model, self.device, self._make_options())
        except Exception as error:
            raise EngineError(
                f"backend 'openvino:{self.mode}': OpenVINO {_get_version()} cannot run {self.path.name} on "
                f"{self.device} ({_get_reason(error)}); try backend=openvino:cpu"
            ) from error

    def _check_device(self, core: Any) -> None:
        # Of one GPU it is "GPU", of several "GPU.0" and "GPU.1"; both names run the first.
        available = list(core.available_devices)
        if self.device not in {name for found in available for name in (found, found.removesuffix(".0"), f"{found}.0")}:
            driver = DRIVERS.get(self.device.partition(".")[0])
            remedy = f"install {driver}, or choose" if driver else "choose"
            raise EngineError(
                f"backend 'openvino:{self.mode}': OpenVINO {_get_version()} finds {', '.join(available)} on this "
                f"machine, not {self.device}; {remedy} backend=openvino:cpu"
            )

    def _make_options(self) -> dict[str, Any]:
        """Options of the device.

        Accuracy means the file's own precision: by default, a CPU with bfloat16 computes in that and a GPU in float16.
        """
        options: dict[str, Any] = {"EXECUTION_MODE_HINT": "ACCURACY", "PERFORMANCE_HINT": "LATENCY"}
        if self.device == "CPU":
            # As many streams as threads: one thread runs each.
            threads = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": self.threads}
            return {**options, **threads, "ENABLE_CPU_PINNING": False}
        folder = cache_folder() / f"openvino-{openvino.__version__.partition('-')[0]}"
        return {**options, "CACHE_DIR": str(folder)}  # other devices take long to compile for


def create(path: Path, *, threads: Threads = "auto", mode: str = "") -> OpenVino:
    """A backend for ``path``. ``mode`` is ``cpu``, ``gpu`` or ``npu``, or ``gpu:1`` for the second one."""
    return OpenVino(path, threads=threads, mode=mode)


def _parse_device(mode: str) -> str:
    """``GPU.1`` for ``gpu:1``. Raises :class:`EngineError` listing the devices."""
    name, _, number = mode.partition(":")
    if name not in DEVICES or (":" in mode and not number.isdecimal()) or (name == "cpu" and number):
        raise EngineError(
            f"backend 'openvino:{mode}': there is no such device; choose one of {', '.join(DEVICES)}, or gpu:1 for the "
            "second GPU"
        )
    return f"{DEVICES[name]}.{int(number)}" if number else DEVICES[name]


def _get_version() -> str:
    return str(openvino.__version__).partition("-")[0]


def _describe(compiled: Any, side_by_side: int) -> Description:
    inputs, outputs = _to_tensors(compiled.inputs, "input"), _to_tensors(compiled.outputs, "output")
    device = ", ".join(compiled.get_property("EXECUTION_DEVICES")).lower()
    best_batch = BEST_BATCH if device == "cpu" else None
    return Description(inputs, outputs, device, best_batch=best_batch, side_by_side=side_by_side)


def _to_tensors(ports: Any, kind: str) -> tuple[Tensor, ...]:
    """Descriptions of inputs or outputs; one without a name, or with that of another, is numbered."""
    names: list[str] = []
    for number, port in enumerate(ports):
        name = min(port.names, default=f"{kind}_{number}")
        names.append(f"{name}_{number}" if name in names else name)
    return tuple(_to_tensor(*pair) for pair in zip(names, ports, strict=True))


def _to_tensor(name: str, port: Any) -> Tensor:
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return Tensor(name, shape, str(np.dtype(port.element_type.to_dtype())))


def _give_real_outputs(model: Any) -> Any:
    """The same model with outputs in real values, where the file has them quantised to 8 bits.

    OpenVINO computes the real values, and quantises them at the very end.
    """
    for result in model.get_results():
        stored = result.input_value(0)
        if stored.get_node().get_type_name() != "Convert":
            continue
        levels = stored.get_node().input_value(0).get_node()
        if levels.get_type_name() == "FakeQuantize":
            real = levels.input_value(0)
            real.get_tensor().set_names(stored.get_names())
            result.input(0).replace_source_output(real)
    model.validate_nodes_and_infer_types()
    return model


def _get_reason(error: Exception) -> str:
    """The last line of OpenVINO's message; those before it name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:240] if lines else type(error).__name__


def _get_remedy(error: Exception) -> str:
    return "run it with backend=onnxrt" if "conversion rule" in str(error) else "export it, or download it, again"
