"""The supervisor's end of the bus; a part's is in :mod:`stream.runtime.heartbeat`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stream.runtime.endpoints import get_socket_address
from stream.runtime.heartbeat import BUS, POSTS, TARGETS
from stream.transports.bus_sockets import BusPublisher, BusReceiver
from stream.transports.run_token import RunToken


class Hub(Protocol):
    """The supervisor's end of the bus."""

    def receive(self, timeout_ms: int) -> Sequence[bytes]:
        """What the parts have posted, waiting for at most so long."""

    def publish_target(self, notice: bytes) -> None:
        """Send the target state to every part."""

    def publish(self, notice: bytes) -> None:
        """Send a notice to everything that watches the line."""


class SocketHub:
    """The supervisor's end of the bus as three sockets in a run directory."""

    def __init__(self, run_dir: Path, token: RunToken) -> None:
        with contextlib.ExitStack() as opened:
            self._posts = BusReceiver(get_socket_address(run_dir, POSTS), keys=token)
            opened.callback(self._posts.close)
            self._targets = BusPublisher(get_socket_address(run_dir, TARGETS), keys=token)
            opened.callback(self._targets.close)
            self._bus = BusPublisher(get_socket_address(run_dir, BUS))
            opened.callback(self._bus.close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the sockets; idempotent."""
        self._opened.close()

    def receive(self, timeout_ms: int) -> list[bytes]:
        """What the parts have posted, waiting for at most so long."""
        for end in (self._posts, self._targets, self._bus):
            end.restore()
        return self._posts.receive(timeout_ms=timeout_ms)

    def publish_target(self, notice: bytes) -> None:
        """Send the target state to every part."""
        self._targets.publish(notice)

    def publish(self, notice: bytes) -> None:
        """Send a notice to everything that watches the line."""
        self._bus.publish(notice)
