"""A TensorRT engine as a backend: named arrays in, named arrays out, with one synchronization."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.backends.base import check_feeds
from engines.backends.trt.engine import LoadedEngine, load_engine
from engines.backends.trt.executor import Executor
from engines.backends.trt.memory import (
    DeviceBuffer,
    OutputBuffer,
    Resources,
    Stream,
    device_addresses,
    on_gpu,
    take_resources,
)
from engines.backends.trt.options import Mode
from engines.backends.trt.plans import get_plan_in_mode
from engines.errors import EngineError
from engines.spec.tensors import Array, Description

_logger = logging.getLogger(__name__)


class TensorRT:
    """The engine that TensorRT built of an ``.onnx`` file, or builds when it is first opened."""

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        self.mode = mode
        self._session: Session | None = None

    def open(self) -> None:
        if self._session is None:
            plan = get_plan_in_mode(self.path, self.mode, _logger.warning)
            with on_gpu(f"{self.path.name}: TensorRT could not open it"), take_resources() as resources:
                loaded = load_engine(plan, self.path.name, resources.stream)
                self._session = Session(loaded, resources, self.mode)

    def describe(self) -> Description:
        return self._opened().loaded.description

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        session = self._opened()
        interface, log = session.loaded.interface, session.loaded.log
        check_feeds(self.path.name, interface.inputs, feeds)
        batch = interface.check(self.path.name, [len(array) for array in feeds.values()])
        with on_gpu(f"{self.path.name}: it failed on a batch of {batch}", log):
            return session.run(feeds, batch)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.resources.close()

    def _opened(self) -> Session:
        if self._session is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._session


class Session:
    """An open engine with a stream, scratch memory and buffers for its largest batch, all in ``resources``."""

    def __init__(self, loaded: LoadedEngine, resources: Resources, mode: Mode) -> None:
        self.loaded, self.resources, self._stream = loaded, resources, resources.stream
        interface = loaded.interface
        self._inputs = resources.input_buffers(interface.inputs, interface.largest)
        self._outputs = resources.output_buffers(interface.outputs, interface.largest)
        self._addresses = {**device_addresses(self._inputs), **device_addresses(self._outputs)}
        scratch = resources.add(DeviceBuffer(loaded.scratch_bytes))
        self._executor = resources.add(Executor(loaded, scratch, resources.stream, graphs=mode.graphs))

    def run(self, feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
        """Every output; a batch larger than the engine's runs in parts."""
        return concatenate([self._run_part(feeds, rows) for rows in self.loaded.interface.parts(batch)])

    def _run_part(self, feeds: Mapping[str, Array], rows: slice) -> dict[str, Array]:
        """Copies in, the engine, copies out, then the one synchronization."""
        batch = rows.stop - rows.start
        for name, buffer in self._inputs.items():
            buffer.upload(feeds[name][rows], self._stream)
        self._executor.queue(batch, self._addresses)
        return download_outputs(self._outputs, batch, self._stream)


def download_outputs(outputs: Mapping[str, OutputBuffer], batch: int, stream: Stream) -> dict[str, Array]:
    """Copy every output to the host and wait for all that is queued."""
    for buffer in outputs.values():
        buffer.download(batch, stream)
    stream.synchronize()
    return {name: buffer.to_array(batch) for name, buffer in outputs.items()}


def concatenate(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Outputs of consecutive parts of a batch, as those of one run."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
