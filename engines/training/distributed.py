"""The group of processes that ``torchrun`` starts for one training, as seen by this process."""

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

# The other ranks wait while rank 0 validates, for minutes on a data set; torchrun stops all if one process dies.
_TIMEOUT: Final = timedelta(hours=3)


def _number(name: str, default: str) -> int:
    given = os.environ.get(name, default)
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise EngineError(f"the environment variable {name} is {given[:40]!r}, not a number of torchrun's; unset it")
    return int(given)


class RemoteRankError(Exception):
    """Another rank failed and reports why."""


@dataclass(frozen=True)
class ProcessGroup:
    """``rank`` of ``world_size`` processes, ``local_world_size`` of them on this machine, and this one's device."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> ProcessGroup:
        """Join the group that torchrun describes; without torchrun, one process on the first GPU, else on the CPU."""
        rank, world_size, local_rank, local_world_size = (_number(name, one) for name, one in _TORCHRUN.items())
        cuda = torch.cuda.is_available()
        if cuda and local_rank >= torch.cuda.device_count():
            raise EngineError(
                f"local rank {local_rank} has no GPU, this machine has {torch.cuda.device_count()}; "
                f"run torchrun --nproc-per-node {torch.cuda.device_count()}"
            )
        if cuda:
            torch.cuda.set_device(local_rank)  # NCCL sends objects from the current device
        if world_size > 1:
            distributed.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
        device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
        return cls(rank, world_size, device, local_world_size)

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and messages: rank 0 does."""
        return self.rank == 0

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all ranks, in place."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def share(self, samples: int) -> tuple[int, float]:
        """How many of a batch's ``samples`` are this rank's, and which fraction that is."""
        own = len(range(self.rank, samples, self.world_size))
        return own, own / samples

    @contextmanager
    def fail_together(self) -> Iterator[None]:
        """Wait for all ranks at the end of the block; if the block fails on any of them, it fails on all.

        The first rank that fails raises its :class:`EngineError`, all others :class:`RemoteRankError`, so that an error
        is reported once.
        """
        failure: EngineError | None = None
        try:
            yield
        except EngineError as error:
            failure = error
        first = self._first_failed_rank(failure)
        if failure is not None and first == self.rank:
            raise failure
        if first is not None:
            raise RemoteRankError

    def _first_failed_rank(self, failure: EngineError | None) -> int | None:
        failed: list[Any] = [failure is not None] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(failed, failure is not None)
        return failed.index(True) if any(failed) else None

    def close(self) -> None:
        """Leave the group."""
        if self.world_size > 1:
            distributed.destroy_process_group()
