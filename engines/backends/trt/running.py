"""A TensorRT engine as a backend: named arrays in, named arrays out, and one wait between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engines.backends.base import check_feeds
from engines.backends.trt.executions import Executions, Loaded
from engines.backends.trt.holding import Holding, holding, on_gpu
from engines.backends.trt.loading import load, ready_plan
from engines.backends.trt.memory import DeviceBuffer, Inbound, Outbound
from engines.backends.trt.modes import Mode
from engines.errors import EngineError
from engines.spec.tensors import Array, Description


class TensorRT:
    """The engine that TensorRT built of an ``.onnx`` file, or builds when it is first opened."""

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        self.mode = mode
        self._session: Session | None = None

    def open(self) -> None:
        if self._session is None:
            plan = ready_plan(self.path, self.mode)
            with on_gpu(f"{self.path.name}: TensorRT could not open it"), holding() as held:
                self._session = Session(load(plan, self.path.name, held.lane), held, self.mode)

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
            session.held.close()

    def _opened(self) -> Session:
        if self._session is None:
            raise EngineError(f"{self.path.name}: it is not open; call open() before describe() or run()")
        return self._session


class Session:
    """An open engine with a stream, scratch memory and buffers for its largest batch, all of them ``held``."""

    def __init__(self, loaded: Loaded, held: Holding, mode: Mode) -> None:
        self.loaded, self.held, self._lane = loaded, held, held.lane
        interface = loaded.interface
        self._inbound = held.inbounds(interface.inputs, interface.largest)
        self._outbound = held.outbounds(interface.outputs, interface.largest)
        self._addresses = {**addresses(self._inbound), **addresses(self._outbound)}
        scratch = held.keep(DeviceBuffer(loaded.scratch_bytes))
        self._executions = held.keep(Executions(loaded, scratch, held.lane, graphs=mode.graphs))

    def run(self, feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
        """Every output; a batch that is larger than the engine's runs part by part."""
        return joined([self._run_part(feeds, rows) for rows in self.loaded.interface.parts(batch)])

    def _run_part(self, feeds: Mapping[str, Array], rows: slice) -> dict[str, Array]:
        """Copies in, the engine, copies out, then the one wait."""
        batch = rows.stop - rows.start
        for name, inbound in self._inbound.items():
            inbound.send(feeds[name][rows], self._lane)
        self._executions.queue(batch, self._addresses)
        for outbound in self._outbound.values():
            outbound.fetch(batch, self._lane)
        self._lane.wait()
        return {name: outbound.taken(batch) for name, outbound in self._outbound.items()}


def addresses(moved: Mapping[str, Inbound] | Mapping[str, Outbound]) -> dict[str, int]:
    """Where each tensor lies on the GPU, by name."""
    return {name: one.device.address for name, one in moved.items()}


def joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Outputs of consecutive parts of a batch, as of one."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
