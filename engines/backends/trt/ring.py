"""A feature ring on the GPU: maps that the backbone gives stay where the head takes them, and the host sees neither.

Backbone and head work on one stream, so what is queued later finds what was queued before it done, without a wait; only
reading waits, once, for what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import check_feeds, check_slots, check_split, check_windows
from engines.backends.trt.executions import Executions, Loaded
from engines.backends.trt.holding import Holding, holding, on_gpu
from engines.backends.trt.loading import load, ready_plan
from engines.backends.trt.memory import ALIGNMENT, DeviceBuffer, row_bytes
from engines.backends.trt.modes import Mode
from engines.backends.trt.running import addresses, joined
from engines.errors import EngineError
from engines.spec.tensors import Array, Description

Run = tuple[int, int, int]
"""First row, first slot, and how many of both."""


class DeviceFeatureCache:
    """Backbone and head of one network as TensorRT engines, and ``slots`` frames' maps between them on the GPU."""

    def __init__(self, backbone: Path, head: Path, slots: int, mode: Mode) -> None:
        self.backbone, self.head = backbone, head
        self.slots = slots
        self.mode = mode
        self._session: RingSession | None = None

    def open(self) -> None:
        if self._session is None:
            plans = {path.name: ready_plan(path, self.mode) for path in (self.backbone, self.head)}
            with on_gpu(f"{self._name}: TensorRT could not open it"), holding() as held:
                backbone, head = (load(plan, name, held.lane) for name, plan in plans.items())
                check_split(backbone.interface.outputs, head.interface.inputs)
                self._session = RingSession(backbone, head, self.slots, held, self.mode)

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
            session.held.close()

    @property
    def _name(self) -> str:
        return f"{self.backbone.name} and {self.head.name}"

    def _opened(self) -> RingSession:
        if self._session is None:
            raise EngineError(f"{self._name}: the ring is not open; call open() before it is used")
        return self._session


class RingSession:
    """Two open engines on one stream, and the maps between them, all ``held`` on the GPU.

    Each map has a store of ``slots`` frames, and one transfer buffer that is written whole before it is read: by the
    backbone for frames on their way into the store, by copies out of the store for windows on their way to the head.
    """

    def __init__(self, backbone: Loaded, head: Loaded, slots: int, held: Holding, mode: Mode) -> None:
        self.backbone, self.head, self.held, self._lane = backbone, head, held, held.lane
        self.image, self._maps = backbone.interface.inputs, backbone.interface.outputs
        self._inbound = held.inbounds(self.image, backbone.interface.largest)[self.image[0].name]
        self._outbound = held.outbounds(head.interface.outputs, head.interface.largest)
        self._stores = [held.keep(DeviceBuffer(row_bytes(kept) * slots)) for kept in self._maps]
        self._transfers = [held.keep(DeviceBuffer(size)) for size in self._transfer_bytes()]
        # One scratch memory for both: they run one after the other.
        scratch = held.keep(DeviceBuffer(max(backbone.scratch_bytes, head.scratch_bytes)))
        self._backbone, self._head = (
            held.keep(Executions(loaded, scratch, held.lane, graphs=mode.graphs)) for loaded in (backbone, head)
        )

    @property
    def frames(self) -> int | None:
        """T of the head's windows."""
        return self.head.interface.inputs[0].shape[1]

    @property
    def description(self) -> Description:
        """What the ring says of itself."""
        return Description(
            self.image, self.head.interface.outputs, self.head.device, self.head.interface.largest, self.frames
        )

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        """Queue ``crops`` through the backbone into ``slots``. Waits for nothing but the last crops to have left."""
        for rows in self.backbone.interface.parts(len(crops)):
            self._inbound.send(crops[rows], self._lane)
            self._queue_backbone(slots[rows])

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """Every output of the head over ``windows``."""
        return joined([self._read_part(windows[rows]) for rows in self.head.interface.parts(len(windows))])

    def _transfer_bytes(self) -> Iterator[int]:
        """As much as the larger of the two takes, of each map."""
        for gives, takes in zip(self._maps, self.head.interface.inputs, strict=True):
            frames, windows = self.backbone.interface.largest, self.head.interface.largest
            yield max(row_bytes(gives) * frames, row_bytes(takes) * windows)

    def _queue_backbone(self, slots: NDArray[np.intp]) -> None:
        """The maps of what was sent, straight into their slots where the backbone may write there."""
        runs = list(runs_of(slots))
        straight = self._straight(runs, self._backbone)
        targets = self._places(runs[0][1]) if straight else [transfer.address for transfer in self._transfers]
        names = (kept.name for kept in self._maps)
        self._backbone.queue(
            len(slots), {self.image[0].name: self._inbound.device.address, **dict(zip(names, targets, strict=True))}
        )
        if not straight:
            self._copy(runs, into_store=True)

    def _read_part(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        """The windows' maps to where the head reads, the head, copies out, then the one wait."""
        batch = len(windows)
        self._head.queue(batch, {**self._gathered(windows), **addresses(self._outbound)})
        for outbound in self._outbound.values():
            outbound.fetch(batch, self._lane)
        self._lane.wait()
        return {name: outbound.taken(batch) for name, outbound in self._outbound.items()}

    def _gathered(self, windows: NDArray[np.intp]) -> dict[str, int]:
        """Where the head finds ``windows``: in the store itself where they lie there as they are, else in a copy."""
        runs = list(runs_of(windows.ravel()))
        straight = self._straight(runs, self._head)
        if not straight:
            self._copy(runs, into_store=False)
        sources = self._places(runs[0][1]) if straight else [transfer.address for transfer in self._transfers]
        return dict(zip((tensor.name for tensor in self.head.interface.inputs), sources, strict=True))

    def _straight(self, runs: list[Run], executions: Executions) -> bool:
        """True where an engine may work on the store itself.

        Not by a CUDA graph: it knows one address, and capturing anew for each place costs far more than a copy.
        """
        if executions.graphs or len(runs) > 1:
            return False
        return all(address % ALIGNMENT == 0 for address in self._places(runs[0][1]))

    def _places(self, slot: int) -> list[int]:
        """Where each map of ``slot`` lies in its store."""
        return [store.address + slot * row_bytes(kept) for store, kept in zip(self._stores, self._maps, strict=True)]

    def _copy(self, runs: list[Run], *, into_store: bool) -> None:
        """Queue copies between the transfer buffers and the stores: one for each run of slots and each map."""
        for store, transfer, kept in zip(self._stores, self._transfers, self._maps, strict=True):
            size = row_bytes(kept)
            for row, slot, count in runs:
                ours, theirs = store.address + slot * size, transfer.address + row * size
                target, source = (ours, theirs) if into_store else (theirs, ours)
                self._lane.copy(target, source, count * size)


def runs_of(slots: NDArray[np.intp]) -> Iterator[Run]:
    """Rows whose slots follow each other, as (first row, first slot, count), so that each takes one copy.

    >>> list(runs_of(np.array([4, 5, 6, 0, 1, 1])))
    [(0, 4, 3), (3, 0, 2), (5, 1, 1)]
    """
    ends = np.flatnonzero(np.diff(slots) != 1) + 1
    for first, end in zip([0, *ends], [*ends, len(slots)], strict=True):
        yield int(first), int(slots[first]), int(end - first)
