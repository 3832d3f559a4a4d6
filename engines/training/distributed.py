"""This process among those that train together, as ``torchrun`` starts them: what they agree on, and who speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor, distributed

from engines.errors import EngineError

_TORCHRUN: Final = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}

# The others wait for the first while it judges, which takes it minutes on a data set; torchrun ends all when one dies.
_PATIENCE: Final = timedelta(hours=3)


class ToldElsewhereError(Exception):
    """Another process of this training says why it ends."""


@dataclass(frozen=True)
class Place:
    """``rank`` of ``world`` processes, ``beside`` of them on this machine, and this one's device."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    beside: int = 1

    @classmethod
    def from_environment(cls) -> Place:
        """As torchrun sets it; the first GPU where there is one, else the CPU, without torchrun."""
        rank, world, local, beside = (int(os.environ.get(name, default)) for name, default in _TORCHRUN.items())
        cuda = torch.cuda.is_available()
        if cuda and local >= torch.cuda.device_count():
            raise EngineError(
                f"process {local} of this machine has no GPU, there are {torch.cuda.device_count()}; "
                f"torchrun --nproc-per-node {torch.cuda.device_count()}"
            )
        if cuda:
            torch.cuda.set_device(local)  # where NCCL takes what processes tell each other
        if world > 1:
            distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
        return cls(rank, world, torch.device("cuda", local) if cuda else torch.device("cpu"), beside)

    @property
    def speaks(self) -> bool:
        """Whether this process writes and tells; one of them does."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's ``values``, the same on all; theirs must come in the same order."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def share(self, rows: int) -> tuple[int, float]:
        """Of a batch of ``rows``: how many are this process's, and their part of the whole."""
        own = len(range(self.rank, rows, self.world))
        return own, own / rows

    @contextmanager
    def together(self) -> Iterator[None]:
        """No process goes on before all are at its end. One that cannot says why; others of the same fault are silent.

        Raises that process's :class:`EngineError`, and :class:`ToldElsewhereError` in all others.
        """
        fault: EngineError | None = None
        try:
            yield
        except EngineError as error:
            fault = error
        first = self._first_at_fault(fault)
        if fault is not None and first == self.rank:
            raise fault
        if first is not None:
            raise ToldElsewhereError

    def _first_at_fault(self, fault: EngineError | None) -> int | None:
        faults: list[Any] = [fault is not None] * self.world
        if self.world > 1:
            distributed.all_gather_object(faults, fault is not None)
        return faults.index(True) if any(faults) else None

    def leave(self) -> None:
        """Nothing is said to the others any more."""
        if self.world > 1:
            distributed.destroy_process_group()
