"""Comes back to a camera that was lost: one connection after another, with growing pauses, until told to stop."""

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
"""How long a silent camera is waited for before a word goes to whoever runs the source."""

_STABLE_S = 3.0
"""A connection that lasted so long was a good one: the pauses begin anew when it is lost."""

_GOODBYE_S = 0.5
"""How long a thread that reads is waited for when the source closes; a stuck one ends by itself, later."""


@dataclass
class Backoff:
    """Pauses that double from ``first_s`` to ``most_s``, each shortened by a random share of up to ``jitter``, so that
    a hundred cameras behind one switch do not come back in the same instant."""

    first_s: float
    most_s: float
    jitter: float = 0.25
    random: Callable[[], float] = random.random
    _pauses: int = field(default=0, init=False)

    def next_s(self) -> float:
        """The next pause, in seconds."""
        pause_s = min(self.first_s * 2.0 ** min(self._pauses, 32), self.most_s)
        self._pauses += 1
        return pause_s * (1 - self.jitter * self.random())

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._pauses = 0


@dataclass(frozen=True)
class Policy:
    """When to give up what. A connection that has not opened within ``open_timeout_s``, or is open and gives nothing
    for ``stall_timeout_s``, is lost; ``give_up_s`` without a picture ends the source (0: never)."""

    retry: Retry
    open_timeout_s: float
    stall_timeout_s: float
    give_up_s: float
    max_items: int


Numbered = tuple[int, Shot]
Word = Numbered | Literal["new"] | None


class Reconnecting:
    """An endless sequence of numbered shots from a camera that may come and go.

    ``connect`` opens a connection; ``address`` is what people call the camera, without credentials. ``is_known`` is
    True when an earlier life of this source has been connected: losing the camera is then an outage, not a mistake in
    the address. ``remedy`` ends the message when it cannot be had.
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

    def shots(self) -> Iterator[Word]:
        """``(number, shot)``; ``"new"`` before the first shot of each connection; None while there is nothing.

        Numbers count what was captured, from 0. Raises :class:`SourceError` where trying again is no use.
        """
        self._last_shot_s = time.monotonic()
        while True:
            begun_s = time.monotonic()
            why = yield from self._connection()
            self._judge(why)
            if self._last_shot_s - begun_s > _STABLE_S:
                self._backoff.reset()
            yield from self._pause(why)

    def close(self) -> None:
        """Let the reading thread go."""
        if self._reader is not None:
            self._reader.stop(_GOODBYE_S)
            self._reader = None

    def _connection(self) -> Generator[Word, None, Exception]:
        """All shots of one connection; returns why it ended."""
        before = self._captured
        reader = self._reader = Reader(self._connect, self._policy.max_items, self._address)
        try:
            while (why := self._fault(reader)) is None:
                item = reader.newest(_POLL_S)
                if item is not None and self._captured == before:
                    self._welcome()
                    yield "new"
                yield None if item is None else self._numbered(before, *item)
        finally:
            reader.stop()
        return why

    def _numbered(self, before: int, count: int, shot: Shot) -> Numbered:
        self._captured, self._last_shot_s = before + count, time.monotonic()
        return self._captured - 1, shot

    def _fault(self, reader: Reader) -> Exception | None:
        """Why the connection is of no more use, or None."""
        if reader.ended is not None:
            return reader.ended
        is_open, silent_s = reader.is_connected, reader.silent_s
        limit_s = self._policy.stall_timeout_s if is_open else self._policy.open_timeout_s + _GRACE_S
        if silent_s <= limit_s:
            return None
        return DisconnectedError(f"no {'picture' if is_open else 'answer'} for {silent_s:.1f} s")

    def _welcome(self) -> None:
        if self._captured:
            _log.info("%s is back after %.1f s", self._address, time.monotonic() - self._last_shot_s)
        self._is_known = True

    def _judge(self, why: Exception) -> None:
        """Raise what trying again cannot mend, or is not to."""
        if not isinstance(why, DisconnectedError):
            raise why
        if not self._is_known and (self._policy.retry != "always" or why.is_mistake):
            raise SourceError(f"cannot reach {self._address}: {why}; {self._remedy}") from why
        if self._policy.retry == "never":
            raise SourceError(f"lost {self._address}: {why}; retry=reconnect would wait for it") from why
        lost_s = time.monotonic() - self._last_shot_s
        if 0 < self._policy.give_up_s < lost_s:
            raise SourceError(
                f"gave up {self._address}, {lost_s:.0f} s without a picture: {why}; {self._remedy}"
            ) from why

    def _pause(self, why: Exception) -> Iterator[None]:
        pause_s = self._backoff.next_s()
        _log.warning("%s is not there: %s; trying again in %.1f s", self._address, why, pause_s)
        until_s = time.monotonic() + pause_s
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _POLL_S))
            yield None


_GRACE_S = 1.0
"""What is added to the time an opening may take, so that the library's own time-out, which knows why, is first."""
