"""A simulation of what is used of ``tensorrt`` to run an engine. Nothing of it is TensorRT.

An engine is an ONNX graph that ONNX Runtime runs over the simulated GPU's memory, at the moment when the stream is
worked off. A context is as strict as TensorRT's documentation: shapes within the profile, every tensor at an aligned
address, scratch memory given and large enough, never the default stream, and one plain run after each change before it
is captured. While it runs it overwrites its scratch memory, whatever is stored there.
"""

from __future__ import annotations

import enum
import json
import math
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tests.engines.backends.trt.simulated_cuda import Gpu, LaunchError, given_back

VERSION = "11.4.0.106"
ALIGNMENT = 256
SCRATCH = 5000
"""Bytes of scratch memory of each engine."""


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        pass

    def log(self, severity: enum.IntEnum, msg: str) -> None:
        raise NotImplementedError


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8


_OF_ONNX = {
    onnx.TensorProto.FLOAT: DataType.FLOAT,
    onnx.TensorProto.FLOAT16: DataType.HALF,
    onnx.TensorProto.BFLOAT16: DataType.BF16,
    onnx.TensorProto.UINT8: DataType.UINT8,
    onnx.TensorProto.INT64: DataType.INT64,
}
_NUMPY: dict[DataType, np.dtype[Any]] = {
    DataType.FLOAT: np.dtype("float32"),
    DataType.HALF: np.dtype("float16"),
    DataType.UINT8: np.dtype("uint8"),
    DataType.INT64: np.dtype("int64"),
}


class TensorIOMode(enum.IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.IntEnum):
    DEVICE = 0
    HOST = 1


class ExecutionContextAllocationStrategy(enum.IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class ICudaEngine:
    """An ONNX graph for batches of ``smallest`` to ``largest``."""

    def __init__(self, gpu: Gpu, log: ILogger, plan: dict[str, Any]) -> None:
        self.gpu, self.log, self.plan = gpu, log, plan
        graph = onnx.load(plan["onnx"]).graph
        self.inputs, self.outputs = ({value.name: value for value in side} for side in (graph.input, graph.output))
        self.session: Any = None
        if DataType.BF16 not in map(self.get_tensor_dtype, self._all):
            self.session = onnxruntime.InferenceSession(plan["onnx"], providers=["CPUExecutionProvider"])
        self.num_io_tensors = len(self._all)
        self.device_memory_size_v2 = SCRATCH
        self.capturable = True

    @property
    def _all(self) -> dict[str, Any]:
        return {**self.inputs, **self.outputs}

    def get_tensor_name(self, index: int) -> str:
        return list(self._all)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return _OF_ONNX[self._all[name].type.tensor_type.elem_type]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = self._all[name].type.tensor_type.shape.dim
        return tuple(size.dim_value if size.HasField("dim_value") else -1 for size in sizes)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [(batch, *self.get_tensor_shape(name)[1:]) for batch in self.plan["batches"]]

    def create_execution_context(self, *, strategy: ExecutionContextAllocationStrategy) -> IExecutionContext:
        assert strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        self.gpu.need_context("cudaMalloc")
        return IExecutionContext(self)


class IExecutionContext:
    """One context of an engine."""

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._gpu = engine, engine.gpu
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._settled = False
        self._profile = -1
        self._gpu.alive["contexts"] += 1

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._gpu.streams, "neither the default stream nor one that is gone is wanted"
        self._profile = profile_index
        return profile_index == 0

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile == 0, "the profile is chosen before the shapes"
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(low) or not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
            return self._fails(f"setInputShape: {name} {shape} is not within the profile {low} to {high}")
        self._shapes[name], self._settled = shape, False
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        if name in self._shapes:
            return self._shapes[name]
        return tuple(batch if size == -1 else size for size in self._engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if memory % ALIGNMENT:
            return self._fails(f"setTensorAddress: {name} at {memory:#x} is not aligned to {ALIGNMENT} bytes")
        self._addresses[name], self._settled = memory, False
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self._gpu.need_context("enqueueV3")
        assert stream_handle in self._gpu.streams, "neither the default stream nor one that is gone is wanted"
        recording = self._gpu.recordings.get(stream_handle)
        if recording is not None and not (self._settled and self._engine.capturable):
            recording.broken = True
            return self._fails("enqueueV3: cudaErrorStreamCaptureUnsupported")
        if self._addresses.keys() != self._engine._all.keys() or self._shapes.keys() != self._engine.inputs.keys():
            return self._fails("enqueueV3: a tensor has no address or no shape")
        if self._scratch[1] < self._engine.device_memory_size_v2:
            return self._fails("enqueueV3: no device memory was set")
        self._settled = True
        self._gpu.queue(stream_handle, self._run())
        return True

    def __del__(self) -> None:
        given_back(self._gpu, "contexts", True)

    def _run(self) -> Any:
        """The run as it is now; a graph may keep it, but not longer than its context lives."""
        shapes, addresses, engine = dict(self._shapes), dict(self._addresses), self._engine
        memory, size = self._scratch
        alive, counts = weakref.ref(self), self._gpu.counts

        def run() -> None:
            if alive() is None:
                raise LaunchError("an illegal memory access was encountered")
            feeds = {name: _array(engine, addresses[name], name, shapes[name]) for name in engine.inputs}
            results = engine.session.run(list(engine.outputs), feeds)
            for name, result in zip(engine.outputs, results, strict=True):
                _array(engine, addresses[name], name, result.shape)[...] = result
            engine.gpu.memory(memory, size)[:] = counts["executions"] % 251
            counts["executions"] += 1

        return run

    def _fails(self, why: str) -> bool:
        self._engine.log.log(Severity.ERROR, why)
        return False


def _array(engine: ICudaEngine, address: int, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The memory of a tensor."""
    dtype = _NUMPY[engine.get_tensor_dtype(name)]
    return engine.gpu.memory(address, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)


class Runtime:
    gpu: Gpu

    def __init__(self, log: ILogger) -> None:
        self._log = log
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        self.gpu.need_context("cudaMalloc")
        if self.gpu.bytes_taken + len(serialized_engine) > self.gpu.capacity:
            self._log.log(Severity.ERROR, "[runtime.cpp::load::1] Error Code 2: OutOfMemory (requested weights)")
            return None
        plan = json.loads(serialized_engine)
        if plan["version"] != VERSION:
            self._log.log(Severity.ERROR, "Error Code 6: the plan was built by another version of TensorRT")
            return None
        return ICudaEngine(self.gpu, self._log, plan)


def tensorrt(gpu: Gpu) -> ModuleType:
    """``tensorrt`` for one GPU."""
    module: Any = ModuleType("tensorrt")
    kinds: Iterable[type] = (
        *(ILogger, DataType, TensorIOMode, TensorLocation, ExecutionContextAllocationStrategy),
        *(ICudaEngine, IExecutionContext),
    )
    for kind in kinds:
        setattr(module, kind.__name__, kind)
    module.Runtime = type("Runtime", (Runtime,), {"gpu": gpu})
    module.__version__ = VERSION
    module.init_libnvinfer_plugins = lambda logger, namespace: True
    return module


def plan_of(path: Path, batches: tuple[int, int, int], version: str) -> bytes:
    """What a build of ``path`` would give: a plan that only this simulation reads."""
    return json.dumps({"onnx": str(path), "batches": batches, "version": version}).encode()
