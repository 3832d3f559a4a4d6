"""The newest state of one running line, as its bus publishes it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stream.pipeline.launch import load_yaml
from stream.runtime.bus import AnyNotice, Error, Qos, Restarted, Stats, Warning_, decode
from stream.transports.bus_sockets import BusSubscriber

MAX_EVENTS = 50
"""How many events of a line are kept."""

SILENT_S = 3.0
"""A part is silent when its heartbeat, which comes twice a second, is so late."""


@dataclass(frozen=True)
class PartState:
    """The last heartbeat of a part, how old it is in seconds, and how often the part was restarted."""

    stats: Stats
    age_s: float
    restarts: int

    @property
    def is_silent(self) -> bool:
        """True when the heartbeat is late, or the part hangs in an element."""
        return self.age_s > SILENT_S and not self.stats.finished


@dataclass(frozen=True)
class Event:
    """A warning, an error or a restart of a ``part``: when it was received, ns since 1970 UTC, and its text, which the
    part has freed of passwords."""

    received_ns: int
    kind: Literal["warning", "error", "restart"]
    part: str
    text: str


@dataclass
class LineWatch:
    """Receives the notices of the line in ``run_dir``, when :meth:`listen` is called. Close it at the end.

    Raises :class:`TransportError` or :class:`LaunchError` where the directory holds no line.
    """

    run_dir: Path
    name: str = ""
    drops: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Items dropped since the line started, by part, camera and reason."""
    warnings: Counter[str] = field(default_factory=Counter)
    """Warnings since the watch began, by part."""
    errors: Counter[str] = field(default_factory=Counter)
    """Errors since the watch began, by part."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The last events since the watch began."""

    def __post_init__(self) -> None:
        self.name = self.name or self.run_dir.name
        self.parts = tuple(part.name for part in load_yaml(self.run_dir / "line.yaml").parts)
        self._heartbeats: dict[str, tuple[Stats, float]] = {}
        self._restarts: Counter[str] = Counter()
        self._bus = BusSubscriber(f"ipc://{self.run_dir}/bus.sock")

    def listen(self, seconds: float) -> None:
        """Take in the notices that have arrived, and those of so many seconds."""
        end_s = time.monotonic() + seconds
        while True:
            left_ms = int(1000 * (end_s - time.monotonic()))
            for data in self._bus.receive(timeout_ms=max(0, left_ms)):
                self.receive(decode(data))
            if left_ms <= 0:
                return

    def receive(self, notice: AnyNotice | None) -> None:
        """Take in one notice."""
        match notice:
            case Stats(part=part):
                self._heartbeats[part] = notice, time.monotonic()
                self._restarts[part] = max(self._restarts[part], notice.incarnation)
            case Qos(part=part, camera=camera, reason=reason):
                # The totals of a part outlive its restarts; a notice may have been lost, but no total is.
                known = self.drops[part, camera, reason]
                self.drops[part, camera, reason] = max(known, notice.total, notice.dropped)
            case Restarted(part=part):
                self._restarts[part] = max(self._restarts[part], notice.count)
                self.events.append(Event(time.time_ns(), "restart", part, notice.why))
            case Warning_(part=part):
                self.warnings[part] += 1
                self.events.append(Event(time.time_ns(), "warning", part, notice.text))
            case Error(part=part):
                self.errors[part] += 1
                self.events.append(Event(time.time_ns(), "error", part, notice.text))
            case _:
                pass

    def states(self) -> Iterator[tuple[str, PartState]]:
        """Each part that has sent a heartbeat, and its state."""
        now_s = time.monotonic()
        for part, (stats, at_s) in self._heartbeats.items():
            yield part, PartState(stats, now_s - at_s, self._restarts[part])

    @property
    def is_complete(self) -> bool:
        """True when every part has sent a heartbeat."""
        return self._heartbeats.keys() >= set(self.parts)

    @property
    def trouble(self) -> str:
        """The parts that do not answer, in words; empty when all do."""
        states = dict(self.states())
        missing = [part for part in self.parts if part not in states]
        silent = [part for part, state in states.items() if state.is_silent]
        words = [f"no heartbeat yet from {', '.join(missing)}"] if missing else []
        words += [f"no heartbeat for {SILENT_S:g} s from {', '.join(silent)}"] if silent else []
        return "; ".join(words)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._bus.close()
