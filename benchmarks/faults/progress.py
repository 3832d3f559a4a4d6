"""How far a line is, read from the file of its first sink, and how long it takes to go on after a fault."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults.drawing import Scenario

if TYPE_CHECKING:
    from benchmarks.faults.trial import Injected


class Progress:
    """The share of the frames that the first sink has written; ``has_clock`` while the line's clock is right."""

    def __init__(self, scenario: Scenario, disk: Path) -> None:
        names = {scenario.sinks[0].name.replace("{camera}", camera) for camera in scenario.frames}
        self._read = {disk / name: 0 for name in names}
        self._total, self._count = sum(scenario.frames.values()), 0
        self._is_live = scenario.is_live
        self._began_s: float | None = None
        self._live_s = scenario.live_s
        self._newest_ns = 0
        self.has_clock = True
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @property
    def share(self) -> float:
        """From 0 to 1, and below 0 before the first frame; of a live line the share of the time that it has."""
        if self._began_s is None:
            return -0.5
        if self._is_live:
            return min(1.0, (time.monotonic() - self._began_s) / self._live_s)
        return self._count / self._total

    def update(self, faults: Sequence[Injected], now_s: float) -> None:
        """Read on, and note the recovery from faults of a live line: a frame came out that was captured after it."""
        for path in self._read:
            self._read_on(path)
        if self._count and self._began_s is None:
            self._began_s = time.monotonic()
        if not (self._is_live and self.has_clock):
            return
        captured_s = (self._newest_ns - self._offset_ns) / 1e9 - (time.monotonic() - now_s)
        for injected in faults:
            if injected.recovery_s is None and captured_s > injected.at_s:
                injected.recovery_s = now_s - injected.at_s

    def _read_on(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            if size == self._read[path]:
                return
            with path.open("rb") as file:
                file.seek(min(self._read[path], size))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = min(self._read[path], size) + len(whole)
            self._count += whole.count(b"\n")
            if self._is_live and whole:
                with contextlib.suppress(ValueError, KeyError):
                    self._newest_ns = max(self._newest_ns, json.loads(whole.splitlines()[-1])["wall_ns"])
