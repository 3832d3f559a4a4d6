"""Reconnection to a lost camera: one connection after another, with growing pauses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

from stream.capture.decoded_picture import Shot
from stream.capture.reader import DisconnectedError, Feed, Reader
from stream.errors import SourceError

_log = logging.getLogger(__name__)

Retry = Literal["reconnect", "always", "never"]

_POLL_S = 0.1
"""How long to wait for a silent camera before control returns to the caller."""

_STABLE_S = 3.0
"""After a connection that lasted this long, the pauses start over."""

_CLOSE_TIMEOUT_S = 0.5
"""How long to wait for the reading thread on close; a blocked one ends later."""


@dataclass
class Backoff:
    """Pauses that double from ``first_s`` to ``most_s``, each shortened by a random share of up to ``jitter``, so that
    a hundred cameras behind one switch do not reconnect at the same moment."""

    first_s: float
    most_s: float
    jitter: float = 0.25
    random: Callable[[], float] = random.random
    _pauses: int = field(default=0, init=False)

    def next_s(self) -> float:
        """Return the next pause, in seconds."""
        pause_s = min(self.first_s * 2.0 ** min(self._pauses, 32), self.most_s)
        self._pauses += 1
        return pause_s * (1 - self.jitter * self.random())

    def reset(self) -> None:
        """Start over with the shortest pause."""
        self._pauses = 0


@dataclass(frozen=True)
class Policy:
    """When a connection counts as lost and when to give up. A connection is lost if it does not open within
    ``open_timeout_s`` or delivers nothing for ``stall_timeout_s``; ``give_up_s`` without a picture ends the source
    (0: never). The next connection waits up to ``closing_s`` for the one before to be closed."""

    retry: Retry
    open_timeout_s: float
    stall_timeout_s: float
    give_up_s: float
    max_items: int
    closing_s: float = 0.0


Numbered = tuple[int, Shot]
Event = Numbered | Literal["new"] | None


class Reconnector:
    """Numbered shots of a camera, over as many connections as it takes.

    ``connect`` opens a connection; ``address`` names the camera in messages, without credentials. ``is_known`` is True
    if this source was connected before a restart: a failure is then an outage, not a wrong address. ``remedy`` ends the
    error message.
    """

    def __init__(
        self,
        connect: Callable[[], Feed],
        address: str,
        policy: Policy,
        backoff: Backoff,
        *,
        is_known: bool = False,
        remedy: str = "check the address",
    ) -> None:
        self._connect, self._address, self._policy, self._backoff = connect, address, policy, backoff
        self._is_known, self._remedy = is_known, remedy
        self._captured = 0
        self._last_shot_s = 0.0
        self._reader: Reader | None = None
        self._error: Exception | None = None
        self._warned = ""
        """The reason that was last warned of, while it lasts."""

    def describe(self) -> str:
        """Why there is no shot now: connecting, connected without a picture, or what the last attempt failed with."""
        reader = self._reader
        if reader is not None and reader.is_connected and reader.error is None:
            return "connected, but no picture comes"
        return f"connecting to {self._address}" if self._error is None else f"{self._error}; reconnecting"

    def shots(self) -> Iterator[Event]:
        """Yield ``(number, shot)``; ``"new"`` before the first shot of each connection; None while there is nothing.

        Numbers count captured shots, from 0. Raises :class:`SourceError` if a retry is useless or not allowed.
        """
        self._last_shot_s = time.monotonic()
        while True:
            begun_s = time.monotonic()
            error = yield from self._read_connection()
            self._error = error
            self._raise_if_final(error)
            if self._last_shot_s - begun_s > _STABLE_S:
                self._backoff.reset()
            yield from self._pause(error)

    def close(self) -> None:
        """Stop the reading thread."""
        if self._reader is not None:
            self._reader.stop(_CLOSE_TIMEOUT_S)
            self._reader = None

    def _read_connection(self) -> Generator[Event, None, Exception]:
        """Yield all shots of one connection; return why it ended."""
        before = self._captured
        reader = self._reader = Reader(self._connect, self._policy.max_items, self._address)
        try:
            while (error := self._find_error(reader)) is None:
                item = reader.read(_POLL_S)
                if item is not None and self._captured == before:
                    self._on_connected()
                    yield "new"
                yield None if item is None else self._number(before, *item)
        finally:
            reader.stop()
        return error

    def _number(self, before: int, count: int, shot: Shot) -> Numbered:
        self._captured, self._last_shot_s = before + count, time.monotonic()
        return self._captured - 1, shot

    def _find_error(self, reader: Reader) -> Exception | None:
        """Why the connection counts as lost; None if it does not."""
        if reader.error is not None:
            return reader.error
        is_open, silent_s = reader.is_connected, reader.silent_s
        limit_s = self._policy.stall_timeout_s if is_open else self._policy.open_timeout_s + _GRACE_S
        if silent_s <= limit_s:
            return None
        return DisconnectedError(f"no {'picture' if is_open else 'answer'} for {silent_s:.1f} s")

    def _on_connected(self) -> None:
        if self._captured:
            _log.warning("%s is back after %.1f s", self._address, time.monotonic() - self._last_shot_s)
        elif self._warned:
            _log.warning("%s is there now", self._address)
        self._is_known, self._error, self._warned = True, None, ""

    def _raise_if_final(self, error: Exception) -> None:
        """Raise if the error is permanent or the policy allows no retry."""
        if not isinstance(error, DisconnectedError):
            raise error
        if not self._is_known and (self._policy.retry != "always" or error.is_mistake):
            raise SourceError(f"cannot reach {self._address}: {error}; {self._remedy}") from error
        if self._policy.retry == "never":
            raise SourceError(f"lost {self._address}: {error}; set retry=reconnect to wait for it") from error
        lost_s = time.monotonic() - self._last_shot_s
        if 0 < self._policy.give_up_s < lost_s:
            raise SourceError(
                f"gave up on {self._address} after {lost_s:.0f} s without a picture: {error}; {self._remedy}"
            ) from error

    def _pause(self, error: Exception) -> Iterator[None]:
        pause_s = self._backoff.next_s()
        # Once for a reason: a camera that is away for a night would fill the log.
        level, self._warned = logging.INFO if str(error) == self._warned else logging.WARNING, str(error)
        _log.log(level, "%s is unavailable: %s; retrying in %.1f s", self._address, error, pause_s)
        begun_s = time.monotonic()
        while (paused_s := time.monotonic() - begun_s) < (self._policy.closing_s if self._is_held else pause_s):
            time.sleep(min(max(pause_s - paused_s, _POLL_S / 10), _POLL_S))
            yield None

    @property
    def _is_held(self) -> bool:
        """True while the last connection may still hold what the next one needs."""
        return self._policy.closing_s > 0 and self._reader is not None and self._reader.is_running


_GRACE_S = 1.0
"""Added to the open timeout, so that the library's own timeout, which gives a reason, comes first."""
