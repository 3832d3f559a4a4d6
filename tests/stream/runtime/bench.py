"""What tests of a part share: toy elements, a clock, links in memory, and a process that is none."""

from __future__ import annotations

import io
import signal
from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Source, Transform
from stream.messages import Eos, Frame, Key
from stream.runtime import bus, state
from stream.runtime.endpoints import Links
from stream.runtime.inputs import InboxInput
from stream.runtime.part_runner import PartRunner
from stream.testing import make_frame
from stream.transports.endpoint import HopOutbox
from stream.transports.in_process import Exchange
from stream.transports.wire import pack

CAMERA = "cam"


@dataclass
class Gives(Source):
    src = Caps("video/raw")
    num_frames: int = 3
    is_live: bool = False
    camera: str = CAMERA

    def frames(self) -> Iterator[Frame | None]:
        for seq in range(self.num_frames):
            yield make_frame(seq, self.camera)


@dataclass
class Takes(Sink):
    sink = Caps(ANY)
    taken: list[int] = field(default_factory=list)
    flushed: int = 0

    def consume(self, item: Any) -> None:
        self.taken.append(item.key[1])

    def flush(self) -> None:
        self.flushed += 1


@dataclass
class Twice(Transform):
    sink = src = Caps(ANY)

    def process(self, item: Frame) -> Iterator[Frame]:
        yield item
        yield item


class Memory(UserDict[str, int], state.Memory):
    """A part's memory that outlives it as long as the test keeps it."""

    def store(self, changes: state.Changes) -> None:
        for name, value in changes.items():
            if value is None:
                del self[name]
            else:
                self[name] = value


class Bench:
    """Parts on one exchange, stepped by hand."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.posted: list[bus.AnyNotice] = []
        self.done: list[Key] = []

    def part_runner(
        self,
        *elements: Element,
        inbox: str = "",
        outbox: str = "",
        memory: Memory | None = None,
        cameras: tuple[str, ...] = (CAMERA,),
    ) -> PartRunner:
        links = self.links(inbox, outbox)

        def release(key: Key) -> None:
            self.done.append(key)
            if links.inbox is not None:
                links.inbox.acknowledge(key)

        return PartRunner(
            "part", elements, cameras, links, Memory() if memory is None else memory, self.posted.append, release
        )

    def links(self, inbox: str = "", outbox: str = "") -> Links:
        return Links(
            self.exchange.open_inbox(inbox) if inbox else None,
            [self.exchange.open_outbox(outbox, "upstream")] if outbox else [],
            [False] if outbox else [],
            wait=lambda inboxes, outboxes, timeout_ms: False,
        )

    def outbox(self) -> HopOutbox:
        return self.exchange.open_outbox("in", "tester")


def send(outbox: HopOutbox, *items: Frame | Eos) -> None:
    for item in items:
        outbox.send(item.key, pack(item))


def advance(taking: InboxInput, outbox: HopOutbox, until: Callable[[], bool]) -> None:
    """Let both ends of a link work until the condition holds."""
    for _ in range(100):
        if until():
            return
        outbox.take_acknowledged()
        taking.advance("PLAYING")
    raise AssertionError("the condition never held")


class Clock:
    """A clock that the test sets."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class FakeProcess:
    """A process that runs until it gets SIGKILL, or the test sets its exit ``code``."""

    def __init__(self, pid: int, stderr: bytes = b"") -> None:
        self.pid, self.code = pid, None
        self.stderr = io.BytesIO(stderr)
        self.signals: list[int] = []

    code: int | None

    def poll(self) -> int | None:
        return self.code

    def wait(self) -> int:
        assert self.code is not None, "a wait for a process that nothing ends"
        return self.code

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)
        if sig == signal.SIGKILL and self.code is None:
            self.code = -sig


class Spawner:
    """Starts fake processes, each with a process id of its own, and keeps them by part."""

    def __init__(self, stderr: bytes = b"") -> None:
        self.started: dict[str, list[FakeProcess]] = {}
        self.is_restart: dict[str, bool] = {}
        self._stderr, self._pid = stderr, 1000

    def __call__(self, part: str, is_restart: bool) -> FakeProcess:
        self.is_restart[part] = is_restart
        self._pid += 1
        process = FakeProcess(self._pid, self._stderr)
        self.started.setdefault(part, []).append(process)
        return process

    def last(self, part: str) -> FakeProcess:
        return self.started[part][-1]


class Notes:
    """Process ids by part, as a run directory keeps them."""

    def __init__(self) -> None:
        self.pids: dict[str, int] = {}

    def note_process(self, part: str, pid: int) -> None:
        self.pids[part] = pid

    def forget_process(self, part: str) -> None:
        self.pids.pop(part, None)
