"""What an open backend holds on the GPU, given back together, and the one stream on which it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Protocol, TypeVar

import pycuda.driver as cuda

from engines.backends.trt import contexts
from engines.backends.trt.faults import TrtLog, translated
from engines.backends.trt.graphs import DriverError
from engines.backends.trt.memory import DeviceBuffer, Inbound, Lane, Mark, Outbound, PinnedBuffer, row_bytes
from engines.spec.tensors import Tensor


class Closes(Protocol):
    def close(self) -> None: ...


Thing = TypeVar("Thing", bound=Closes)


class Holding:
    """Buffers, contexts and graphs that live and end together. Made and filled while the GPU's context is current."""

    def __init__(self) -> None:
        self._things = ExitStack()
        self.lane = self.keep(Lane())

    def keep(self, thing: Thing) -> Thing:
        """``thing``, closed with all others, last first."""
        return self._things.enter_context(closing(thing))

    def inbounds(self, tensors: tuple[Tensor, ...], batch: int) -> dict[str, Inbound]:
        """Ways to the GPU for inputs, by name."""
        return {tensor.name: Inbound(tensor, *self._pair(tensor, batch), self.keep(Mark())) for tensor in tensors}

    def outbounds(self, tensors: tuple[Tensor, ...], batch: int) -> dict[str, Outbound]:
        """Ways from the GPU for outputs, by name."""
        return {tensor.name: Outbound(tensor, *self._pair(tensor, batch)) for tensor in tensors}

    def _pair(self, tensor: Tensor, batch: int) -> tuple[PinnedBuffer, DeviceBuffer]:
        size = row_bytes(tensor) * batch
        return self.keep(PinnedBuffer(size)), self.keep(DeviceBuffer(size))

    def close(self) -> None:
        """Wait for what is queued and give everything back; idempotent.

        Where the GPU has failed, waiting and freeing fail too; whoever closes can do nothing about it.
        """
        with suppress(cuda.Error, DriverError), contexts.current():
            with suppress(cuda.Error):
                self.lane.wait()
            self._things.close()


@contextmanager
def on_gpu(what: str, log: TrtLog | None = None) -> Iterator[None]:
    """Work on the GPU; what fails there is told as :class:`EngineError`, beginning with ``what``."""
    with translated(what, log), contexts.current():
        yield


@contextmanager
def holding() -> Iterator[Holding]:
    """A new one, given back at once if the block fails."""
    held = Holding()
    try:
        yield held
    except BaseException:
        held.close()
        raise
