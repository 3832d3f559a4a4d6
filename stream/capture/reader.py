"""Reading of one camera connection in a separate thread, which keeps only the newest shots.

A read from a camera or network can block indefinitely, and Python cannot interrupt it. So it happens in a daemon
thread, which is abandoned after a timeout: once its read returns, the thread closes the connection and ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from stream.capture.decoded_picture import Shot


class DisconnectedError(Exception):
    """The connection failed and a retry may succeed; ``str()`` gives the reason, without credentials.

    ``is_mistake``: a retry can succeed only if there was a connection before. A restarting camera may answer "not
    found" for a while; without an earlier connection, that answer means a wrong path.
    """

    def __init__(self, why: str, *, is_mistake: bool = False) -> None:
        super().__init__(why)
        self.is_mistake = is_mistake


class Feed(Protocol):
    """An open connection, used by one thread only."""

    def read(self) -> Shot:
        """Return the next shot; blocks. Raises :class:`DisconnectedError`, or ``SourceError`` if a retry is useless."""

    def close(self) -> None: ...


class Reader:
    """Opens one connection and reads it until it ends or :meth:`stop` is called.

    At most ``max_items`` shots wait; older ones are dropped. :meth:`read` returns ``(count, shot)``, where ``count`` is
    the number of shots captured so far, that one included: gaps in it are dropped shots.
    """

    def __init__(self, connect: Callable[[], Feed], max_items: int, name: str) -> None:
        self._connect = connect
        self._waiting: deque[tuple[int, Shot]] = deque(maxlen=max_items)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._count = 0
        self._last_activity_s = time.monotonic()
        self._is_connected = False
        self._error: Exception | None = None
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"reader of {name}", daemon=True
        )
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """True once the connection is open."""
        return self._is_connected

    @property
    def is_running(self) -> bool:
        """True until the connection is closed, which a read that blocks delays."""
        return self._thread.is_alive()

    @property
    def error(self) -> Exception | None:
        """Why the thread ended, once all its shots are taken; None before."""
        with self._changed:
            return None if self._waiting else self._error

    @property
    def silent_s(self) -> float:
        """Seconds since the last shot; before the first one, since the connection opened or began to open."""
        return time.monotonic() - self._last_activity_s

    def read(self, timeout_s: float) -> tuple[int, Shot] | None:
        """Take the oldest waiting shot; None if none arrives within ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._error, timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def stop(self, timeout_s: float = 0.0) -> None:
        """Ask the thread to end, and wait for it up to ``timeout_s``."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._read_until_stopped()
        except Exception as error:  # noqa: BLE001  the reader of `error` raises it or reconnects
            self._finish(error)

    def _read_until_stopped(self) -> None:
        feed = self._connect()
        try:
            self._is_connected, self._last_activity_s = True, time.monotonic()
            while not self._stopping.is_set():
                self._put(feed.read())
        finally:
            feed.close()

    def _put(self, shot: Shot) -> None:
        with self._changed:
            self._count += 1
            self._last_activity_s = time.monotonic()
            self._waiting.append((self._count, shot))
            self._changed.notify_all()

    def _finish(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
