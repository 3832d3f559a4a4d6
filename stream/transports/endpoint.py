"""The two ends of a link: the protocol of :mod:`stream.transports.reliable` over a carrier of messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from stream.messages import Key
from stream.transports.base import Buffers, Delivery, Leaky, LinkStatistics
from stream.transports.hop_notes import Parts
from stream.transports.reliable import HopReceiver, HopSender

PING_MS = 200
"""How often a sender pings while items are unacknowledged; a loss is detected within this time."""

_MESSAGES_PER_CALL = 1024
"""Maximum number of messages read in one call, so that a flood does not block the caller."""


class SenderCarrier(Protocol):
    """Carries messages to one receiver and back."""

    def write(self, parts: Parts) -> bool:
        """Send without waiting; False if the buffer is full."""

    def read(self) -> Parts | None:
        """Read the next message of the receiver, or None."""

    def wait(self, timeout_ms: int) -> None:
        """Wait for a message, at most ``timeout_ms``."""

    def close(self) -> None: ...

    @property
    def pollable(self) -> Any: ...


class ReceiverCarrier(Protocol):
    """Carries messages from any number of senders and back; ``refused`` counts those that may not send."""

    @property
    def refused(self) -> int: ...

    def write(self, sender: bytes, parts: Parts) -> None:
        """Send without waiting; the message is lost if the buffer is full."""

    def read(self) -> tuple[bytes, Parts] | None:
        """Read the next message of any sender, or None."""

    def wait(self, timeout_ms: int) -> None:
        """Wait for a message, at most ``timeout_ms``."""

    def close(self) -> None: ...

    @property
    def pollable(self) -> Any: ...


class HopOutbox:
    """An :class:`stream.transports.base.Outbox` over a carrier; ``now_s`` is the clock, in seconds."""

    def __init__(self, carrier: SenderCarrier, link: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._carrier, self._now_s = carrier, now_s
        self._sender = HopSender(link)
        self._next_ping = 0.0

    @property
    def pollable(self) -> Any:
        """What to poll for messages of the receiver."""
        return self._carrier.pollable

    @property
    def ready(self) -> bool:
        """True if :meth:`take_acknowledged` returns keys without waiting."""
        return self._sender.has_acknowledged

    def send(self, key: Key, buffers: Buffers) -> None:
        """Send an item, now or when the receiver is there; keep it until it is acknowledged."""
        self._sender.add(key, buffers)
        self._update()

    def take_acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        """Return the keys acknowledged since the last call; waits up to ``timeout_ms`` for one."""
        deadline = time.monotonic() + timeout_ms / 1000
        self._update()
        while not self._sender.has_acknowledged and (left_ms := _left_ms(deadline)) > 0:
            self._carrier.wait(min(left_ms, PING_MS))
            self._update()
        return self._sender.take_acknowledged()

    def statistics(self) -> LinkStatistics:
        """Counters since this end was opened."""
        return self._sender.statistics()

    def close(self) -> None:
        """Close the carrier; idempotent."""
        self._carrier.close()

    def _update(self) -> None:
        self._read()
        self._write()
        self._ping()

    def _read(self) -> None:
        for _ in range(_MESSAGES_PER_CALL):
            parts = self._carrier.read()
            if parts is None:
                return
            self._sender.handle(parts)

    def _write(self) -> None:
        while (parts := self._sender.next_data()) is not None and self._carrier.write(parts):
            self._sender.mark_written()

    def _ping(self) -> None:
        now = self._now_s()
        if self._sender.is_open and now >= self._next_ping:
            self._carrier.write(self._sender.ping())
            self._next_ping = now + PING_MS / 1000


class HopInbox:
    """An :class:`stream.transports.base.Inbox` over a carrier."""

    def __init__(self, carrier: ReceiverCarrier, leaky: Leaky = "no", max_items: int = 1) -> None:
        self._receiver = HopReceiver(leaky, max_items)
        self._carrier = carrier

    @property
    def pollable(self) -> Any:
        """What to poll for items."""
        return self._carrier.pollable

    @property
    def ready(self) -> bool:
        """True if :meth:`receive` returns items without waiting."""
        return self._receiver.has_items

    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        """Return the next items in order; an empty list if none arrive within ``timeout_ms``."""
        deadline = time.monotonic() + timeout_ms / 1000
        self._read(max_items)
        while not self._receiver.has_items and (left_ms := _left_ms(deadline)) > 0:
            self._carrier.wait(left_ms)
            self._read(max_items)
        return self._receiver.take(max_items)

    def acknowledge(self, key: Key) -> None:
        """Acknowledge an item to its sender."""
        self._receiver.acknowledge(key)
        self._reply(self._receiver.take_replies())

    def take_dropped(self) -> list[Key]:
        """Return the keys that a leaky inbox dropped since the last call; they are acknowledged already."""
        return self._receiver.take_dropped()

    def statistics(self) -> LinkStatistics:
        """Counters since this end was opened."""
        return replace(self._receiver.statistics(), refused=self._carrier.refused)

    def close(self) -> None:
        """Close the carrier after the last acknowledgements were sent; idempotent."""
        self._carrier.close()

    def _read(self, max_items: int) -> None:
        for _ in range(_MESSAGES_PER_CALL):
            message = self._carrier.read()
            if message is None:
                break
            self._receiver.handle(*message)
            if self._receiver.has_enough(max_items):
                break
        self._reply(self._receiver.take_replies())

    def _reply(self, replies: Iterable[tuple[bytes, Parts]]) -> None:
        for sender, parts in replies:
            self._carrier.write(sender, parts)


def _left_ms(deadline: float) -> int:
    # Rounded up, so that a wait of less than a millisecond does not become a busy loop.
    return max(0, math.ceil((deadline - time.monotonic()) * 1000))
