"""One engine queued again and again: an execution context for each size of batch, and a CUDA graph of it.

A graph holds the shapes, the addresses and the scratch memory that it was captured with, and what a context keeps for
one shape is overwritten when it is given another; so each size has its own context, as NVIDIA advises, and all share
one scratch memory: they run one after the other on one stream. Contexts of TensorRT 10 and later may share a profile.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import tensorrt as trt

from engines.backends.trt.faults import TrtLog, refuse
from engines.backends.trt.graphs import CapturedGraph, DriverError, capture
from engines.backends.trt.memory import DeviceBuffer, Lane
from engines.backends.trt.tensors import Interface, full_shape, new_context
from engines.errors import EngineError
from engines.spec.tensors import Description

KEPT = 16
"""Sizes of batch whose contexts are kept: as many as an engine of the line may ask for
(``engines.inference.engine.MAX_BATCH``), so that a scene in which people come and go captures each size once."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """An engine on the GPU, what goes in and out of it, its log, and where it runs; ``model`` names it in messages."""

    model: str
    engine: trt.ICudaEngine
    interface: Interface
    log: TrtLog
    device: str

    @property
    def description(self) -> Description:
        """What a backend says of it."""
        return Description(self.interface.inputs, self.interface.outputs, self.device, self.interface.largest)

    @property
    def scratch_bytes(self) -> int:
        """Of device memory, while it runs with any batch."""
        return int(self.engine.device_memory_size_v2)


class Execution:
    """An engine at one size of batch."""

    def __init__(self, loaded: Loaded, batch: int, scratch: DeviceBuffer, lane: Lane) -> None:
        self._loaded = loaded
        self._context = self._made(batch, scratch, lane)
        self._addresses: dict[str, int] = {}
        self._warm = False
        self._graph: CapturedGraph | None = None

    @property
    def may_be_captured(self) -> bool:
        """True once it ran with the addresses it has, before which TensorRT may have to do what no graph can hold."""
        return self._warm and self._graph is None

    def aim(self, addresses: Mapping[str, int]) -> None:
        """Let it read and write ``addresses``. A graph that knows others is forgotten."""
        if addresses == self._addresses:
            return
        self._forget_graph()
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                self._refuse(f"set_tensor_address({name!r})")
        self._addresses, self._warm = dict(addresses), False

    def capture(self, lane: Lane) -> None:
        """Record a run, without running it. Raises :class:`DriverError` or :class:`EngineError`."""
        self._graph = capture(lane.handle, lambda: self._execute(lane))

    def queue(self, lane: Lane) -> None:
        """Queue one run, by its graph where it has one."""
        if self._graph is not None:
            self._graph.launch(lane.handle)
        else:
            self._execute(lane)
        self._warm = True

    def close(self) -> None:
        """Give back the graph, which may no longer run; idempotent. The context goes with the object itself."""
        self._forget_graph()

    def _made(self, batch: int, scratch: DeviceBuffer, lane: Lane) -> trt.IExecutionContext:
        context = new_context(self._loaded.engine, lane)
        if context is None:
            self._refuse("create_execution_context")
        context.set_device_memory(scratch.address, scratch.size)
        for tensor in self._loaded.interface.inputs:
            shape = full_shape(tensor, batch)
            if not context.set_input_shape(tensor.name, shape):
                self._refuse(f"set_input_shape({tensor.name!r}, {shape})")
        return context

    def _execute(self, lane: Lane) -> None:
        if not self._context.execute_async_v3(stream_handle=lane.handle):
            self._refuse("execute_async_v3")

    def _forget_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _refuse(self, failed: str) -> NoReturn:
        refuse(self._loaded.model, failed, self._loaded.log)


class Executions:
    """An engine at every size of batch, the last :data:`KEPT` of them ready."""

    def __init__(self, loaded: Loaded, scratch: DeviceBuffer, lane: Lane, *, graphs: bool) -> None:
        self.graphs = graphs
        self._loaded, self._scratch, self._lane = loaded, scratch, lane
        self._ready: OrderedDict[int, Execution] = OrderedDict()

    def queue(self, batch: int, addresses: Mapping[str, int]) -> None:
        """Queue one run over a batch at ``addresses``, which hold it. Raises :class:`EngineError`."""
        execution = self._of(batch)
        execution.aim(addresses)
        if self.graphs and execution.may_be_captured:
            self._capture(execution)
        execution.queue(self._lane)

    def close(self) -> None:
        """Give back all contexts; idempotent. Nothing queued may still run."""
        while self._ready:
            self._ready.popitem()[1].close()

    def _of(self, batch: int) -> Execution:
        if batch not in self._ready:
            self._make_room()
            self._ready[batch] = Execution(self._loaded, batch, self._scratch, self._lane)
        self._ready.move_to_end(batch)
        return self._ready[batch]

    def _make_room(self) -> None:
        if len(self._ready) >= KEPT:
            self._lane.wait()  # it may still run
            self._ready.popitem(last=False)[1].close()

    def _capture(self, execution: Execution) -> None:
        """Some engines cannot be captured, for instance because a plugin waits; they run as well, and it is said."""
        try:
            execution.capture(self._lane)
        except (DriverError, EngineError) as error:
            self.graphs = False
            _logger.warning("%s: it runs without CUDA graphs: %s", self._loaded.model, str(error))
