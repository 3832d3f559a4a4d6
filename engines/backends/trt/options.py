"""How an engine is built and run. Nothing here needs TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from engines.errors import EngineError

Hardware = Literal["none", "ampere+", "same-capability"]
Plugin = Literal["fused", "nvidia"]

_LEVELS = range(6)
_SWITCHES = {"nograph": "graphs", "nobuild": "builds"}


class Batches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many people at once an engine is built for: the fewest, the number it is fastest at, the most."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"batches of {self.min} to {self.max}, best at {self.opt}"


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    An engine takes 1 to ``max_batch`` people at once and is fastest at ``best_batch`` (by default half of
    ``max_batch``, rounded up). ``workspace_mib`` bounds the scratch memory of one layer. ``optimization_level`` is
    TensorRT's (0 builds fastest, 5 searches longest). ``version_compatible`` engines load in later releases too,
    ``hardware`` other than ``none`` on other GPUs too; both give up some speed.

    ``refit`` leaves the weights out of the plan and loads them with it, so that a network that was trained further
    needs seconds instead of minutes. It pays if you try many checkpoints of one network. Otherwise build without, since
    TensorRT fuses less across weights that may change.
    """

    max_batch: int = 16
    best_batch: int = 0
    workspace_mib: int = 4096
    optimization_level: int = 3
    version_compatible: bool = False
    hardware: Hardware = "none"
    refit: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 1024 or not 0 <= self.best_batch <= self.max_batch:
            raise EngineError(
                f"TensorRT: batches of 1 to {self.max_batch}, best at {self.best_batch}, are impossible; "
                "give 1 <= best_batch <= max_batch <= 1024"
            )
        if self.optimization_level not in _LEVELS:
            raise EngineError(
                f"TensorRT: optimisation level {self.optimization_level} is not one of 0 to {_LEVELS[-1]}"
            )
        if self.workspace_mib < 1:
            raise EngineError(f"TensorRT: workspace_mib={self.workspace_mib} is too small; give 64 or more")

    @property
    def batches(self) -> Batches:
        """What the one optimisation profile covers."""
        return Batches(1, self.best_batch or (self.max_batch + 1) // 2, self.max_batch)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of TensorRT's builder flags."""
        compatible = ("VERSION_COMPATIBLE",) if self.version_compatible else ()
        return (*compatible, "REFIT", "STRIP_PLAN") if self.refit else compatible


@dataclass(frozen=True)
class Mode:
    """How an engine is run: with CUDA ``graphs`` or without; built if there is none for this machine yet, or not."""

    graphs: bool = True
    builds: bool = True


def parse_mode(text: str) -> Mode:
    """What follows ``tensorrt:`` in a backend's name: ``nograph``, ``nobuild``, both joined by ``+``, or nothing.

    Raises :class:`EngineError` for any other word.

    >>> parse_mode("nograph+nobuild")
    Mode(graphs=False, builds=False)
    """
    words = [word for word in text.split("+") if word]
    unknown = [word for word in words if word not in _SWITCHES]
    if unknown:
        known = ", ".join(f"tensorrt:{word}" for word in _SWITCHES)
        raise EngineError(f"backend 'tensorrt:{text}': there is no mode {unknown[0]!r}; choose tensorrt, {known}")
    return Mode(**{_SWITCHES[word]: False for word in words})
