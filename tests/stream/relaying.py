"""Helpers for tests of relays: one that runs in a thread, and a line that publishes at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream.elements.keypointsink import KeypointSink
from stream.protocol.relay_server import RelayServer

ANY = "tcp://127.0.0.1:*"


class RunningRelay:
    """A relay that runs in a thread, at the addresses of another one if given."""

    def __init__(self, bind: str = ANY, publishers: str = ANY, **options: Any) -> None:
        self.server = RelayServer(bind, publishers, heartbeat_ms=50, **options)
        self.bind, self.publishers = self.server.bind, self.server.publishers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.server.run, args=(self._stop.is_set,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()


@contextmanager
def open_relay(bind: str = ANY, publishers: str = ANY, **options: Any) -> Iterator[RunningRelay]:
    relay = RunningRelay(bind, publishers, **options)
    try:
        yield relay
    finally:
        relay.stop()


@contextmanager
def open_line(relay: RunningRelay | str, **properties: Any) -> Iterator[KeypointSink]:
    """A sink that publishes at the relay."""
    address = relay if isinstance(relay, str) else relay.publishers
    with KeypointSink(relay=address, **{"heartbeat_ms": 50, **properties}) as sink:
        yield sink
