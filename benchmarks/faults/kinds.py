"""The kinds of faults. Each is a function that does it to a running line and returns what was done to whom."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

Needs = Literal["", "root", "clock"]


@dataclass(frozen=True)
class Fault:
    """One fault: it happens ``delay_s`` after this share of the frames is in the first sink's file (or, if negative,
    after the start). What passes lasts ``hold_s``. ``draw`` decides about everything else."""

    kind: str
    progress: float
    delay_s: float
    hold_s: float
    draw: int

    @property
    def rng(self) -> Random:
        """The random numbers of this fault."""
        return Random(self.draw)

    @property
    def moment(self) -> str:
        """When it happens, in words."""
        after = "the start" if self.progress < 0 else f"{self.progress:.0%} of the frames"
        return f"{self.delay_s:.2f} s after {after}"


class Missed(Exception):  # noqa: N818 - no error: there is nothing to do it to
    """There is nothing (any more) that this fault could happen to."""


class Victim(Protocol):
    """A line that runs, as faults see it."""

    @property
    def supervisor(self) -> int:
        """The process id of the supervisor. Raises :class:`Missed`."""

    @property
    def disk(self) -> Path:
        """The folder of the sinks' files."""

    @property
    def clock(self) -> Path:
        """The file that holds by how much the clock of the line is wrong."""

    def parts(self) -> dict[str, int]:
        """The process ids of the parts that run. Raises :class:`Missed` if none does."""

    def run_dir(self) -> Path:
        """The run directory. Raises :class:`Missed`."""

    def segments(self) -> list[Path]:
        """The files of the shared memory. Raises :class:`Missed` if there are none."""

    def ports(self) -> list[int]:
        """The TCP ports of queues and publishers."""

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something later, or when the line has ended."""

    def note_end_of(self, part: str) -> None:
        """The fault ends the process of this part."""


Apply = Callable[[Victim, Fault], str]


@dataclass(frozen=True)
class Kind:
    """A kind of fault; ``survives`` if a file line must deliver everything and exit with 0 nonetheless, ``is_last`` if
    nothing is to be disturbed after it."""

    apply: Apply
    group: str
    weight: float
    survives: bool
    is_last: bool
    needs: Needs


KINDS: dict[str, Kind] = {}


def kind(
    name: str, weight: float = 1.0, *, survives: bool = False, is_last: bool = False, needs: Needs = ""
) -> Callable[[Apply], Apply]:
    """Enter a function in the list of kinds."""

    def enter(apply: Apply) -> Apply:
        KINDS[name] = Kind(apply, apply.__module__.rpartition(".")[2], weight, survives, is_last, needs)
        return apply

    return enter


def pick_part(line: Victim, fault: Fault) -> tuple[str, int]:
    """The part that a fault happens to."""
    parts = sorted(line.parts().items())
    return parts[fault.draw % len(parts)]


for module in ("signals", "removals", "limits", "strangers"):
    importlib.import_module(f"benchmarks.faults.{module}")
