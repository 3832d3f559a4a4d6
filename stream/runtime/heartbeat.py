"""What a part tells the bus and hears from its supervisor: notices at once, a heartbeat twice a second, a target.

The heartbeat beats in a thread of its own, so that a long step of an element does not look like death; how long ago the
part's loop last turned is part of it, so that a loop that hangs does not look like life.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stream.runtime import bus
from stream.runtime.endpoints import socket_path
from stream.transports.bus_sockets import BusSender, BusSubscriber

HEARTBEAT_S = 0.5

POSTS, TARGETS, BUS = "posts", "targets", "bus"
"""Names of the sockets in a run directory: parts post to the supervisor, it tells them its target, and everybody else
what it heard."""


class Reporter:
    """A part's end of the bus in ``run_dir``.

    ``target`` is what the supervisor wants, and ``first`` until it has been heard.
    """

    def __init__(self, part: str, run_dir: Path, first: bus.Target) -> None:
        self.target = first
        self._measure: Callable[[], bus.Stats] = lambda: bus.Stats(part=part)
        self._drops: Callable[[], list[bus.Qos]] = list
        self._part, self._run_dir = part, run_dir
        self._sender = BusSender(f"ipc://{socket_path(run_dir, POSTS)}")
        self._subscriber = BusSubscriber(f"ipc://{socket_path(run_dir, TARGETS)}")
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._turned_s = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def post(self, notice: bus.AnyNotice) -> None:
        """Tell the bus; any thread may, and none ever waits."""
        with self._lock:
            if not self._closing.is_set():
                self._sender.send(bus.encode(notice))

    def turned(self) -> None:
        """The part's loop has turned once more."""
        self._turned_s = time.monotonic()

    @contextmanager
    def measuring(self, measure: Callable[[], bus.Stats], drops: Callable[[], list[bus.Qos]]) -> Iterator[None]:
        """Ask ``measure`` for the statistics, and ``drops`` for what was dropped, while this lasts; keep the last."""
        self._measure, self._drops = measure, drops
        try:
            yield
        finally:
            last = measure()
            self._measure = lambda: last

    def close(self) -> None:
        """Beat once more, so that the last state is heard, and give back the sockets; idempotent."""
        if not self._closing.is_set():
            self._report()
            self._closing.set()
            self._thread.join()
            with self._lock:
                self._sender.close()

    def _beat(self) -> None:
        while not self._closing.is_set():
            self._report()
            self._hear()
            if not self._run_dir.is_dir():  # the line is over, however it ended
                self.target = bus.Target(state="NULL")
        self._subscriber.close()

    def _report(self) -> None:
        for drop in self._drops():
            self.post(_from(self._part, drop))
        idle_ms = (time.monotonic() - self._turned_s) * 1000
        self.post(_with_idle(self._measure(), idle_ms))

    def _hear(self) -> None:
        """Listen for the supervisor until the next heartbeat is due."""
        due_s = time.monotonic() + HEARTBEAT_S
        while not self._closing.is_set() and (left_s := due_s - time.monotonic()) > 0:
            # A tenth of a second at most, so that closing is quick.
            for data in self._subscriber.receive(timeout_ms=max(1, min(100, int(left_s * 1000)))):
                notice = bus.decode(data)
                if isinstance(notice, bus.Target):
                    self.target = notice


class BusHandler(logging.Handler):
    """Forwards what elements log, from WARNING on, to the bus."""

    def __init__(self, part: str, post: Callable[[bus.AnyNotice], None]) -> None:
        super().__init__(logging.WARNING)
        self._part, self._post = part, post

    def emit(self, record: logging.LogRecord) -> None:
        """Post one record: an error as an error, a warning as a warning."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._post(bus.Error(part=self._part, element=record.name[:256], text=text))
        else:
            self._post(bus.Warning_(part=self._part, logger=record.name[:256], text=text))


def _from(part: str, drop: bus.Qos) -> bus.Qos:
    return bus.Qos(part=part, camera=drop.camera, reason=drop.reason, dropped=drop.dropped)


def _with_idle(stats: bus.Stats, idle_ms: float) -> bus.Stats:
    return msgspec.structs.replace(stats, idle_ms=idle_ms)
