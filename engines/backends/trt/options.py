"""How an engine is to be built; no TensorRT is needed to say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engines.backends.trt.keys import Batches
from engines.errors import EngineError

Hardware = Literal["none", "ampere+", "same-capability"]
Plugin = Literal["fused", "nvidia"]

_LEVELS = range(6)


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked for.

    An engine takes 1 to ``max_batch`` people at once and is fastest at ``best_batch`` (half of ``max_batch``, rounded
    up, where not told). ``workspace_mib`` bounds the scratch memory of one layer. ``optimization_level`` is TensorRT's
    (0 builds fastest, 5 looks longest). ``version_compatible`` engines load in later releases too, ``hardware`` other
    than ``none`` on other GPUs too; both give up some speed.

    ``refit`` leaves the weights out of the plan and puts them in when it is loaded, so that a network that was trained
    further needs seconds instead of minutes. It pays where many checkpoints of one network are tried; an engine that
    stays should be built without, since TensorRT fuses less across weights that may change.
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
                f"TensorRT: batches 1 to {self.max_batch}, best at {self.best_batch}, make no sense; "
                "give 1 <= best_batch <= max_batch <= 1024"
            )
        if self.optimization_level not in _LEVELS:
            raise EngineError(
                f"TensorRT: optimisation level {self.optimization_level} is not one of 0 to {_LEVELS[-1]}"
            )
        if self.workspace_mib < 1:
            raise EngineError(f"TensorRT: a workspace of {self.workspace_mib} MiB is none; give 64 or more")

    @property
    def batches(self) -> Batches:
        """What the one optimisation profile covers."""
        return Batches(1, self.best_batch or (self.max_batch + 1) // 2, self.max_batch)

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of TensorRT's builder flags."""
        compatible = ("VERSION_COMPATIBLE",) if self.version_compatible else ()
        return (*compatible, "REFIT", "STRIP_PLAN") if self.refit else compatible
