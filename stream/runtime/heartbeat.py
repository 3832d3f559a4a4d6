"""A part's end of the bus: it posts notices at once and a heartbeat twice a second, and receives its target state.

The heartbeat has a thread of its own, so that a long step of an element does not look like the end of the part. It
holds how long ago the part's loop last turned, so that a loop that hangs is noticed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Protocol

import msgspec

from stream.logs import RedactingFormatter
from stream.runtime import bus
from stream.runtime.endpoints import get_socket_address
from stream.runtime.part_output import PART_STDERR
from stream.runtime.run_dir import load_token
from stream.transports.bus_sockets import BusSender, BusSubscriber

HEARTBEAT_S = 0.5

POSTS, TARGETS, BUS = "posts", "targets", "bus"
"""Names of the sockets in a run directory: parts post notices, the supervisor publishes the target state, and on the
third socket every notice it received."""


class Sender(Protocol):
    """What sends notices to the supervisor and never blocks."""

    def send(self, notice: bytes) -> bool:
        """False when the notice was dropped."""

    def close(self) -> None:
        """Close it; idempotent."""


class Subscriber(Protocol):
    """What receives target states."""

    def receive(self, max_notices: int = ..., timeout_ms: int = ...) -> Sequence[bytes]:
        """The notices that came, waiting for at most so long."""

    def close(self) -> None:
        """Close it; idempotent."""


class Heartbeat:
    """Reports on a part. Call :meth:`start` for the thread that beats, or :meth:`beat` again and again.

    ``target`` is the state that the supervisor wants, and ``first`` until it has been received. When ``has_run_ended``,
    the target becomes NULL.
    """

    def __init__(
        self,
        part: str,
        first: bus.Target,
        sender: Sender,
        subscriber: Subscriber,
        *,
        has_run_ended: Callable[[], bool] = lambda: False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = first
        self._get_statistics: Callable[[], bus.Stats] = lambda: bus.Stats(part=part)
        self._take_drops: Callable[[], list[bus.Qos]] = list
        self._part, self._has_run_ended, self._now_s = part, has_run_ended, now_s
        self._sender, self._subscriber = sender, subscriber
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._turned_s = now_s()
        self._progress_s: float | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat in a thread until :meth:`close`."""
        self._thread.start()

    def post(self, notice: bus.AnyNotice) -> None:
        """Send a notice; any thread may, and none ever waits."""
        with self._lock:
            if not self._closing.is_set():
                self._sender.send(bus.encode(notice))

    def turned(self) -> None:
        """The part's loop has turned once more."""
        self._turned_s, self._progress_s = self._now_s(), None

    def progress(self) -> None:
        """A step that takes long goes on."""
        self._turned_s = self._progress_s = self._now_s()

    @contextmanager
    def reporting(
        self, get_statistics: Callable[[], bus.Stats], take_drops: Callable[[], list[bus.Qos]]
    ) -> Iterator[None]:
        """Send these statistics and drops with every heartbeat while this lasts; afterwards the last statistics."""
        self._get_statistics, self._take_drops = get_statistics, take_drops
        try:
            yield
        finally:
            last = get_statistics()
            self._get_statistics = lambda: last

    def beat(self) -> None:
        """Report once, then receive target states until the next heartbeat is due."""
        self._report()
        self._receive(until_s=self._now_s() + HEARTBEAT_S)
        if self._has_run_ended():
            self.target = bus.Target(state="NULL")

    def close(self) -> None:
        """Report once more, so that the last state is received, and close the sockets; idempotent."""
        if not self._closing.is_set():
            self._report()
            self._closing.set()
            if self._thread.is_alive():
                self._thread.join()
            with self._lock:
                self._sender.close()
            self._subscriber.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self.beat()

    def _report(self) -> None:
        for drop in self._take_drops():
            self.post(msgspec.structs.replace(drop, part=self._part))
        idle_ms = (self._now_s() - self._turned_s) * 1000
        in_long_step = self._progress_s is not None
        self.post(msgspec.structs.replace(self._get_statistics(), idle_ms=idle_ms, in_long_step=in_long_step))

    def _receive(self, until_s: float) -> None:
        while not self._closing.is_set() and (left_s := until_s - self._now_s()) > 0:
            # A tenth of a second at most, so that closing is quick.
            for data in self._subscriber.receive(timeout_ms=max(1, min(100, int(left_s * 1000)))):
                notice = bus.decode(data)
                if isinstance(notice, bus.Target):
                    self.target = notice


def open_heartbeat(part: str, run_dir: Path, first: bus.Target, is_cancelled: Callable[[], bool]) -> Heartbeat:
    """The heartbeat of a part on the bus of the line in ``run_dir``, beating already; once the part ``is_cancelled``,
    its target is NULL."""
    token = load_token(run_dir)
    heartbeat = Heartbeat(
        part,
        first,
        BusSender(get_socket_address(run_dir, POSTS), keys=token),
        BusSubscriber(get_socket_address(run_dir, TARGETS), keys=token),
        has_run_ended=lambda: is_cancelled() or not run_dir.is_dir(),
    )
    heartbeat.start()
    return heartbeat


class BusHandler(logging.Handler):
    """Forwards what elements of this thread's part log, from WARNING on, to the bus."""

    def __init__(self, part: str, post: Callable[[bus.AnyNotice], None]) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(RedactingFormatter())
        self._part, self._post, self._stderr = part, post, PART_STDERR.get()
        self.addFilter(lambda _record: PART_STDERR.get() is self._stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Post one record: an error as an error, a warning as a warning."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._post(bus.Error(part=self._part, element=record.name[:256], text=text))
        else:
            self._post(bus.Warning_(part=self._part, logger=record.name[:256], text=text))
