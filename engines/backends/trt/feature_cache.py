"""A feature cache on the GPU: the backbone's maps stay on the device, where the head reads them.

Backbone and head run on one stream, so no wait is needed between them; only ``read`` synchronizes, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import check_feeds, check_slots, check_split, check_windows
from engines.backends.trt.backend import concatenate, download_outputs
from engines.backends.trt.engine import LoadedEngine, load_engine
from engines.backends.trt.executor import Executor
from engines.backends.trt.memory import (
    ALIGNMENT,
    DeviceBuffer,
    Resources,
    device_addresses,
    on_gpu,
    row_bytes,
    take_resources,
)
from engines.backends.trt.options import Mode
from engines.backends.trt.plans import get_plan_in_mode
from engines.errors import EngineError
from engines.spec.tensors import Array, Description

Run = tuple[int, int, int]
"""First row, first slot, and how many of both."""

_logger = logging.getLogger(__name__)


class DeviceFeatureCache:
    """Backbone and head of one network as TensorRT engines, and ``slots`` frames' maps between them on the GPU."""

    def __init__(self, backbone: Path, head: Path, slots: int, mode: Mode) -> None:
        self.backbone, self.head = backbone, head
        self.slots = slots
        self.mode = mode
        self._session: Session | None = None

    def open(self) -> None:
        if self._session is None:
            paths = (self.backbone, self.head)
            plans = {path.name: get_plan_in_mode(path, self.mode, _logger.warning) for path in paths}
            with on_gpu(f"{self._name}: TensorRT could not open it"), take_resources() as resources:
                backbone, head = (load_engine(plan, name, resources.stream) for name, plan in plans.items())
                check_split(backbone.interface.outputs, head.interface.inputs)
                self._session = Session(backbone, head, self.slots, resources, self.mode)

    def describe(self) -> Description:
        return self._opened().description

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        session = self._opened()
        check_feeds(self.backbone.name, session.image, {session.image[0].name: crops})
        check_slots(slots, crops, self.slots)
        session.backbone.interface.check(self.backbone.name, [len(crops)])
        with on_gpu(f"{self.backbone.name}: it failed on {len(crops)} crops", session.backbone.log):
            session.store(slots, crops)

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        session = self._opened()
        check_windows(windows, session.frames, self.slots)
        session.head.interface.check(self.head.name, [len(windows)])
        with on_gpu(f"{self.head.name}: it failed on {len(windows)} windows", session.head.log):
            return session.read(windows)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.resources.close()

    @property
    def _name(self) -> str:
        return f"{self.backbone.name} and {self.head.name}"

    def _opened(self) -> Session:
        if self._session is None:
            raise EngineError(f"{self._name}: the feature cache is not open; call open() before it is used")
        return self._session


class Session:
    """Two open engines on one stream, and the maps between them, all in ``resources``.

    Each map has a store of ``slots`` frames, and one transfer buffer that is written whole before it is read: by the
    backbone for frames on their way into the store, by copies out of the store for windows on their way to the head.
    """

    def __init__(
        self, backbone: LoadedEngine, head: LoadedEngine, slots: int, resources: Resources, mode: Mode
    ) -> None:
        self.backbone, self.head, self.resources, self._stream = backbone, head, resources, resources.stream
        self.image, self._maps = backbone.interface.inputs, backbone.interface.outputs
        self._input = resources.input_buffers(self.image, backbone.interface.largest)[self.image[0].name]
        self._outputs = resources.output_buffers(head.interface.outputs, head.interface.largest)
        self._stores = [resources.add(DeviceBuffer(row_bytes(kept) * slots)) for kept in self._maps]
        self._transfers = [resources.add(DeviceBuffer(size)) for size in self._transfer_bytes()]
        # One scratch memory for both: they run one after the other.
        scratch = resources.add(DeviceBuffer(max(backbone.scratch_bytes, head.scratch_bytes)))
        self._backbone, self._head = (
            resources.add(Executor(loaded, scratch, resources.stream, graphs=mode.graphs))
            for loaded in (backbone, head)
        )

    @property
    def frames(self) -> int | None:
        """T of the head's windows."""
        return self.head.interface.inputs[0].shape[1]

    @property
    def description(self) -> Description:
        """What the cache's ``describe()`` returns."""
        return Description(
            self.image, self.head.interface.outputs, self.head.device, self.head.interface.largest, self.frames
        )

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        """Queue ``crops`` through the backbone into ``slots``. Waits only until the previous crops were copied."""
        for rows in self.backbone.interface.parts(len(crops)):
            self._input.upload(crops[rows], self._stream)
            self._queue_backbone(slots[rows])

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """Every output of the head over ``windows``."""
        return concatenate([self._read_part(windows[rows]) for rows in self.head.interface.parts(len(windows))])

    def _transfer_bytes(self) -> Iterator[int]:
        """Of each map, the larger of what the backbone writes and the head reads."""
        for output, source in zip(self._maps, self.head.interface.inputs, strict=True):
            frames, windows = self.backbone.interface.largest, self.head.interface.largest
            yield max(row_bytes(output) * frames, row_bytes(source) * windows)

    def _queue_backbone(self, slots: NDArray[np.intp]) -> None:
        """The maps of the uploaded crops, directly into their slots if the backbone may write there."""
        runs = list(find_runs(slots))
        direct = self._is_direct(runs, self._backbone)
        targets = self._slot_addresses(runs[0][1]) if direct else [transfer.address for transfer in self._transfers]
        names = (kept.name for kept in self._maps)
        self._backbone.queue(
            len(slots), {self.image[0].name: self._input.device.address, **dict(zip(names, targets, strict=True))}
        )
        if not direct:
            self._copy(runs, into_store=True)

    def _read_part(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """The windows' maps to where the head reads, the head, copies out, then the one synchronization."""
        self._head.queue(len(windows), {**self._gather(windows), **device_addresses(self._outputs)})
        return download_outputs(self._outputs, len(windows), self._stream)

    def _gather(self, windows: NDArray[np.intp]) -> dict[str, int]:
        """Addresses of ``windows`` for the head: in the store itself if they lie there in order, else in a copy."""
        runs = list(find_runs(windows.ravel()))
        direct = self._is_direct(runs, self._head)
        if not direct:
            self._copy(runs, into_store=False)
        sources = self._slot_addresses(runs[0][1]) if direct else [transfer.address for transfer in self._transfers]
        return dict(zip((tensor.name for tensor in self.head.interface.inputs), sources, strict=True))

    def _is_direct(self, runs: list[Run], executor: Executor) -> bool:
        """True if an engine may work on the store itself.

        Not with a CUDA graph: it has one address, and capturing again for each slot costs far more than a copy.
        """
        if executor.graphs or len(runs) > 1:
            return False
        return all(address % ALIGNMENT == 0 for address in self._slot_addresses(runs[0][1]))

    def _slot_addresses(self, slot: int) -> list[int]:
        """The address of each map of ``slot`` in its store."""
        return [store.address + slot * row_bytes(kept) for store, kept in zip(self._stores, self._maps, strict=True)]

    def _copy(self, runs: list[Run], *, into_store: bool) -> None:
        """Queue copies between the transfer buffers and the stores: one for each run of slots and each map."""
        for store, transfer, kept in zip(self._stores, self._transfers, self._maps, strict=True):
            size = row_bytes(kept)
            for row, slot, count in runs:
                stored, moved = store.address + slot * size, transfer.address + row * size
                target, source = (stored, moved) if into_store else (moved, stored)
                self._stream.copy(target, source, count * size)


def find_runs(slots: NDArray[np.intp]) -> Iterator[Run]:
    """Rows with consecutive slots, as (first row, first slot, count); each takes one copy.

    >>> list(find_runs(np.array([4, 5, 6, 0, 1, 1])))
    [(0, 4, 3), (3, 0, 2), (5, 1, 1)]
    """
    ends = np.flatnonzero(np.diff(slots) != 1) + 1
    for first, end in zip([0, *ends], [*ends, len(slots)], strict=True):
        yield int(first), int(slots[first]), int(end - first)
