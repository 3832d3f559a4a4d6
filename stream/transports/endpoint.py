"""The two ends of a link: the protocol of :mod:`stream.transports.reliable` over whatever carries its messages."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any, Protocol

from stream.messages import Key
from stream.transports.base import Buffers, Delivery, Leaky, LinkStatistics
from stream.transports.reliable import Parts, Receiving, Sending

PING_MS = 200
"""How often a sender greets while anything is open, and so how late a loss is noticed at most."""

_MESSAGES_A_CALL = 1024
"""The most messages read in one call, lest a flood keep the caller for ever."""


class SenderCarrier(Protocol):
    """Carries messages to one receiver and back."""

    def write(self, parts: Parts) -> bool:
        """Send without waiting; False when there is no room now."""

    def read(self) -> Parts | None:
        """What the receiver said next, or None."""

    def wait(self, timeout_ms: int) -> None:
        """Return when there is something to read, or after ``timeout_ms``."""

    def close(self) -> None: ...

    @property
    def pollable(self) -> Any: ...


class ReceiverCarrier(Protocol):
    """Carries messages from any number of senders and back."""

    def write(self, sender: bytes, parts: Parts) -> None:
        """Send without waiting; what cannot be sent now is lost."""

    def read(self) -> tuple[bytes, Parts] | None:
        """What a sender said next, or None."""

    def wait(self, timeout_ms: int) -> None:
        """Return when there is something to read, or after ``timeout_ms``."""

    def close(self) -> None: ...

    @property
    def pollable(self) -> Any: ...


class HopOutbox:
    """An :class:`stream.transports.base.Outbox` over a carrier."""

    def __init__(self, carrier: SenderCarrier, link: str) -> None:
        self._carrier = carrier
        self._sending = Sending(link)
        self._next_ping = 0.0

    @property
    def pollable(self) -> Any:
        """What to watch for news of the receiver."""
        return self._carrier.pollable

    @property
    def ready(self) -> bool:
        """True when :meth:`acknowledged` has something to give without waiting."""
        return self._sending.has_news

    def send(self, key: Key, buffers: Buffers) -> None:
        """Keep an item until it is done, and send it as soon as there is somebody to take it."""
        self._sending.take(key, buffers)
        self._housekeep()

    def acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        """Keys the receiver is done with, since the last call; waits up to ``timeout_ms`` for one."""
        deadline = time.monotonic() + timeout_ms / 1000
        self._housekeep()
        while not self._sending.has_news and (left_ms := _left_ms(deadline)) > 0:
            self._carrier.wait(min(left_ms, PING_MS))
            self._housekeep()
        return self._sending.take_done()

    def statistics(self) -> LinkStatistics:
        """Counters since this end was opened."""
        return self._sending.statistics()

    def close(self) -> None:
        """Give back the socket; idempotent."""
        self._carrier.close()

    def _housekeep(self) -> None:
        self._listen()
        self._write()
        self._greet()

    def _listen(self) -> None:
        for _ in range(_MESSAGES_A_CALL):
            parts = self._carrier.read()
            if parts is None:
                return
            self._sending.arrived(parts)

    def _write(self) -> None:
        while (parts := self._sending.next_data()) is not None and self._carrier.write(parts):
            self._sending.written()

    def _greet(self) -> None:
        now = time.monotonic()
        if self._sending.is_waiting and now >= self._next_ping:
            self._carrier.write(self._sending.ping())
            self._next_ping = now + PING_MS / 1000


class HopInbox:
    """An :class:`stream.transports.base.Inbox` over a carrier."""

    def __init__(self, carrier: ReceiverCarrier, leaky: Leaky = "no", max_items: int = 1) -> None:
        self._receiving = Receiving(leaky, max_items)
        self._carrier = carrier

    @property
    def pollable(self) -> Any:
        """What to watch for items."""
        return self._carrier.pollable

    @property
    def ready(self) -> bool:
        """True when :meth:`receive` has something to give without waiting."""
        return self._receiving.has_items

    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        """The next items in order; an empty list when none came within ``timeout_ms``."""
        deadline = time.monotonic() + timeout_ms / 1000
        self._listen(max_items)
        while not self._receiving.has_items and (left_ms := _left_ms(deadline)) > 0:
            self._carrier.wait(left_ms)
            self._listen(max_items)
        return self._receiving.take(max_items)

    def done(self, key: Key) -> None:
        """Acknowledge an item to its sender."""
        self._receiving.done(key)
        self._reply(self._receiving.take_replies())

    def dropped(self) -> list[Key]:
        """Keys a leaky inbox dropped since the last call (already acknowledged)."""
        return self._receiving.take_dropped()

    def statistics(self) -> LinkStatistics:
        """Counters since this end was opened."""
        return self._receiving.statistics()

    def close(self) -> None:
        """Give back the socket once what was acknowledged is on its way; idempotent."""
        self._carrier.close()

    def _listen(self, max_items: int) -> None:
        for _ in range(_MESSAGES_A_CALL):
            heard = self._carrier.read()
            if heard is None:
                break
            self._receiving.arrived(*heard)
            if self._receiving.has_enough(max_items):
                break
        self._reply(self._receiving.take_replies())

    def _reply(self, replies: Iterable[tuple[bytes, Parts]]) -> None:
        for sender, parts in replies:
            self._carrier.write(sender, parts)


def _left_ms(deadline: float) -> int:
    # Rounded up, so that a wait of less than a millisecond does not become a busy loop.
    return max(0, math.ceil((deadline - time.monotonic()) * 1000))
