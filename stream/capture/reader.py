"""Reads one connection to a camera in a thread of its own and keeps only the newest shots.

A read from a camera or a network can block for as long as it likes, and nothing in Python can interrupt it. So it
happens in a daemon thread that is left to itself when its time is up: when its read returns at last, it closes what it
held and ends. Nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from stream.capture.decoded_picture import Shot


class DisconnectedError(Exception):
    """The connection is gone for a reason that may pass; ``str()`` says which, free of credentials.

    ``is_mistake``: the reason passes by itself only where there once was a connection. A camera that restarts may know
    its path no more for a while; a path that never was is wrong.
    """

    def __init__(self, why: str, *, is_mistake: bool = False) -> None:
        super().__init__(why)
        self.is_mistake = is_mistake


class Feed(Protocol):
    """An open connection; used by one thread only."""

    def read(self) -> Shot:
        """The next shot; blocks. Raises :class:`DisconnectedError`, or ``SourceError`` where trying again is no use."""

    def close(self) -> None: ...


class Reader:
    """Opens one connection and reads it until it ends or :meth:`stop`.

    ``newest`` gives ``(count, shot)``: how many shots this connection has captured so far, that one included, so that
    numbers left out tell how many were dropped because nobody took them. At most ``max_items`` wait.
    """

    def __init__(self, connect: Callable[[], Feed], max_items: int, name: str) -> None:
        self._connect = connect
        self._waiting: deque[tuple[int, Shot]] = deque(maxlen=max_items)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._count = 0
        self._last_sign_s = time.monotonic()
        self._is_connected = False
        self._why: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"reader of {name}", daemon=True)
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """True once the connection was opened."""
        return self._is_connected

    @property
    def has_delivered(self) -> bool:
        """True once a shot came."""
        return self._count > 0

    @property
    def ended(self) -> Exception | None:
        """Why the thread has ended, when all its shots are taken; None before."""
        with self._changed:
            return None if self._waiting else self._why

    @property
    def silent_s(self) -> float:
        """Seconds since the last shot, or since the connection was opened, or since it was begun."""
        return time.monotonic() - self._last_sign_s

    def newest(self, timeout_s: float) -> tuple[int, Shot] | None:
        """The oldest of the newest ``max_items`` shots; None when none came within ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._why, timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def stop(self, patience_s: float = 0.0) -> None:
        """Let the thread go; wait for it so long at most."""
        self._stopping.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        except Exception as error:  # noqa: BLE001  it is raised, or the connection tried again, by whoever reads `ended`
            self._finish(error)

    def _read_until_stopped(self) -> None:
        feed = self._connect()
        try:
            self._is_connected, self._last_sign_s = True, time.monotonic()
            while not self._stopping.is_set():
                self._put(feed.read())
        finally:
            feed.close()

    def _put(self, shot: Shot) -> None:
        with self._changed:
            self._count += 1
            self._last_sign_s = time.monotonic()
            self._waiting.append((self._count, shot))
            self._changed.notify_all()

    def _finish(self, why: Exception) -> None:
        with self._changed:
            self._why = why
            self._changed.notify_all()
