"""One engine queued again and again: an execution context for each size of batch, and a CUDA graph of it.

A graph holds the shapes, the addresses and the scratch memory that it was captured with, and what a context keeps for
one shape is overwritten when it is given another; so each size has its own context, as NVIDIA advises, and all share
one scratch memory: they run one after the other on one stream. Contexts of TensorRT 10 and later may share a profile.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NoReturn

import tensorrt as trt

from engines.backends.trt.engine import LoadedEngine, batch_shape, create_context
from engines.backends.trt.logger import raise_failure
from engines.backends.trt.memory import DeviceBuffer, DriverError, Stream
from engines.backends.trt.requirements import INSTALL
from engines.errors import EngineError

MAX_CONTEXTS = 16
"""Sizes of batch whose contexts are kept: as many as an engine of a pipeline may need
(``engines.inference.engine.MAX_BATCH``), so that a scene in which people come and go captures each size once."""

_logger = logging.getLogger(__name__)


class Executor:
    """Runs an engine at any size of batch; keeps the last :data:`MAX_CONTEXTS` of them ready."""

    def __init__(self, loaded: LoadedEngine, scratch: DeviceBuffer, stream: Stream, *, graphs: bool) -> None:
        self.graphs = graphs
        self._loaded, self._scratch, self._stream = loaded, scratch, stream
        self._executions: OrderedDict[int, Execution] = OrderedDict()

    def queue(self, batch: int, addresses: Mapping[str, int]) -> None:
        """Queue one run over a batch with its tensors at ``addresses``. Raises :class:`EngineError`."""
        execution = self._get_execution(batch)
        execution.bind(addresses)
        if self.graphs and execution.can_be_captured:
            self._capture(execution)
        execution.queue(self._stream)

    def close(self) -> None:
        """Give back all contexts; idempotent. Nothing queued may still run."""
        while self._executions:
            self._executions.popitem()[1].close()

    def _get_execution(self, batch: int) -> Execution:
        if batch not in self._executions:
            self._evict_oldest()
            self._executions[batch] = Execution(self._loaded, batch, self._scratch, self._stream)
        self._executions.move_to_end(batch)
        return self._executions[batch]

    def _evict_oldest(self) -> None:
        if len(self._executions) >= MAX_CONTEXTS:
            self._stream.synchronize()  # it may still run
            self._executions.popitem(last=False)[1].close()

    def _capture(self, execution: Execution) -> None:
        """Some engines cannot be captured, for instance because a plugin waits; they run without, after a warning."""
        try:
            execution.capture(self._stream)
        except (DriverError, EngineError) as error:
            self.graphs = False
            _logger.warning("%s: it runs without CUDA graphs: %s", self._loaded.name, str(error))


class Execution:
    """An engine at one size of batch."""

    def __init__(self, loaded: LoadedEngine, batch: int, scratch: DeviceBuffer, stream: Stream) -> None:
        self._loaded = loaded
        self._context = self._create_context(batch, scratch, stream)
        self._addresses: dict[str, int] = {}
        self._has_run = False
        self._graph: CudaGraph | None = None

    @property
    def can_be_captured(self) -> bool:
        """True once it ran with its addresses: TensorRT may have work in the first run that a graph cannot hold."""
        return self._has_run and self._graph is None

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Let it read and write ``addresses``. A graph with other addresses is dropped."""
        if addresses == self._addresses:
            return
        self.close()
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                self._raise_failure(f"set_tensor_address({name!r})")
        self._addresses, self._has_run = dict(addresses), False

    def capture(self, stream: Stream) -> None:
        """Record a run without running it. Raises :class:`DriverError` or :class:`EngineError`."""
        self._graph = capture_graph(stream, lambda: self._execute(stream))

    def queue(self, stream: Stream) -> None:
        """Queue one run, by its graph if it has one."""
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._execute(stream)
        self._has_run = True

    def close(self) -> None:
        """Give back the graph, which may no longer run; idempotent. The context is freed with this object."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _create_context(self, batch: int, scratch: DeviceBuffer, stream: Stream) -> trt.IExecutionContext:
        context = create_context(self._loaded.engine, stream)
        if context is None:
            self._raise_failure("create_execution_context")
        context.set_device_memory(scratch.address, scratch.size)
        for tensor in self._loaded.interface.inputs:
            shape = batch_shape(tensor, batch)
            if not context.set_input_shape(tensor.name, shape):
                self._raise_failure(f"set_input_shape({tensor.name!r}, {shape})")
        return context

    def _execute(self, stream: Stream) -> None:
        if not self._context.execute_async_v3(stream_handle=stream.handle):
            self._raise_failure("execute_async_v3")

    def _raise_failure(self, failed: str) -> NoReturn:
        raise_failure(self._loaded.name, failed, self._loaded.log)


class CudaGraph:
    """Recorded work, launched as one. It reads and writes the addresses that it was recorded with."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Queue it. Raises :class:`DriverError`."""
        _call(_import_driver().cuGraphLaunch, self._executable, stream.handle)

    def close(self) -> None:
        """Give it back; idempotent. No launch of it may still run."""
        executable, self._executable = self._executable, None
        if executable is not None:
            _call(_import_driver().cuGraphExecDestroy, executable)


def capture_graph(stream: Stream, queue: Callable[[], None]) -> CudaGraph:
    """Record what ``queue`` queues on ``stream``, without running it.

    PyCUDA (2026.1) has no graphs, so this uses cuda-bindings. Raises what ``queue`` raises, :class:`DriverError`, or
    :class:`EngineError` if cuda-bindings is not installed.
    """
    driver = _import_driver()
    graph = _record(driver, stream, queue)
    try:
        return CudaGraph(_call(driver.cuGraphInstantiate, graph, 0))
    finally:
        _call(driver.cuGraphDestroy, graph)


def _record(driver: ModuleType, stream: Stream, queue: Callable[[], None]) -> Any:
    # Thread-local: what other threads do meanwhile, such as taking memory, breaks no capture.
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    _call(driver.cuStreamBeginCapture, stream.handle, mode)
    try:
        queue()
    except Exception:
        # The stream must leave its capture before anything else can be queued; this call may fail for the same reason.
        _, graph = driver.cuStreamEndCapture(stream.handle)
        if graph is not None and int(graph):
            driver.cuGraphDestroy(graph)
        raise
    return _call(driver.cuStreamEndCapture, stream.handle)


def _import_driver() -> ModuleType:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise EngineError(f"CUDA graphs need the Python package cuda-bindings ({error}); {INSTALL}") from error
    module: ModuleType = driver
    return module


def _call(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """What a function of the driver returns besides its CUresult, which must be success."""
    result, *values = function(*arguments)
    if int(result):
        _, words = _import_driver().cuGetErrorString(result)
        raise DriverError(f"{function.__name__} failed: {words.decode() if words else f'error {int(result)}'}")
    return values[0] if values else None
