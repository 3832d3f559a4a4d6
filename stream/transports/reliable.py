"""The reliable protocol of one hop, as state machines without sockets.

A sender (:class:`HopSender`) keeps every item until the receiver (:class:`HopReceiver`) acknowledges it. They exchange
four kinds of notes, each a msgpack array in the first part of a message:

    sender → receiver   data   epoch, session, serial, camera, seq      followed by the item's buffers
                        ping   epoch, session, next serial               a few times a second while items are open
    receiver → sender   hello  epoch, session, in step?, number of dones answers every ping, and data out of step
                        done   session, keys

The receiver draws the *epoch* when it starts; the sender draws the *session* whenever it starts over with its oldest
open item. Data carries both and a serial number, so the receiver detects a restart of either side and a gap (a broken
connection loses messages), and the sender detects lost notes of done. All are recovered in the same way, by a new
session; the receiver recognises duplicates by their key.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports.base import MAX_BUFFER_BYTES, MAX_BUFFERS, Buffers, Delivery, Leaky, LinkStatistics
from stream.transports.hop_notes import Data, Done, Hello, Parts, Ping, decode, encode, receiver_decoder, sender_decoder
from stream.transports.queue import DeliveryQueue

MAX_SENDERS = 1024
"""Maximum number of senders of an inbox; further ones are refused."""

MAX_CAMERAS = 4096
"""Maximum number of cameras of an inbox; items of further cameras are refused as malformed."""


def _draw_token() -> bytes:
    return secrets.token_bytes(8)


@dataclass(slots=True)
class _Item:
    buffers: Buffers
    is_written: bool = False


class HopSender:
    """The sender's side of a hop. ``link`` names it in error messages."""

    def __init__(self, link: str) -> None:
        self.link = link
        self._epoch = b""
        self._session = _draw_token()
        self._serial = 0
        self._acks = 0
        self._open: dict[Key, _Item] = {}
        self._unsent: deque[Key] = deque()
        self._last: dict[str, int] = {}
        self._acknowledged: list[Key] = []
        self._items = self._resent = self._malformed = 0

    @property
    def is_open(self) -> bool:
        """True while items are unacknowledged, or the receiver has not answered yet."""
        return bool(self._open) or not self._epoch

    @property
    def has_acknowledged(self) -> bool:
        """True if :meth:`take_acknowledged` returns keys."""
        return bool(self._acknowledged)

    def add(self, key: Key, buffers: Buffers) -> None:
        """Add an item to send. Raises :class:`TransportError` if it can never be delivered."""
        self._check(key, buffers)
        camera, seq = key
        self._last[camera] = seq
        self._open[key] = _Item(buffers)
        self._unsent.append(key)
        self._items += 1

    def _check(self, key: Key, buffers: Buffers) -> None:
        camera, seq = key
        last = self._last.get(camera, -1)
        if not last < seq <= EOS_SEQ:
            raise TransportError(
                f"{self.link}: item {seq} of camera {camera!r} comes after item {last}; "
                "send one item per frame, in order"
            )
        if len(buffers) > MAX_BUFFERS or any(_size(one) > MAX_BUFFER_BYTES for one in buffers):
            raise TransportError(
                f"{self.link}: item {seq} of camera {camera!r} has {len(buffers)} buffers of up to "
                f"{max(map(_size, buffers)):,} bytes; a link carries {MAX_BUFFERS} of {MAX_BUFFER_BYTES:,}"
            )

    def next_data(self) -> Parts | None:
        """Return the next item to write, or None; call :meth:`mark_written` when it was sent."""
        while self._epoch and self._unsent:
            camera, seq = key = self._unsent[0]
            if item := self._open.get(key):
                return [encode(Data(self._epoch, self._session, self._serial, camera, seq)), *item.buffers]
            self._unsent.popleft()  # it was acknowledged before it could be sent again
        return None

    def mark_written(self) -> None:
        """Record that the item of :meth:`next_data` was sent."""
        item = self._open[self._unsent.popleft()]
        self._resent += item.is_written
        item.is_written = True
        self._serial += 1

    def ping(self) -> Parts:
        """Make a ping, which the receiver answers."""
        return [encode(Ping(self._epoch, self._session, self._serial))]

    def handle(self, parts: Parts) -> None:
        """Handle a message of the receiver."""
        match decode(sender_decoder, parts):
            case Hello() as hello:
                self._handle_hello(hello)
            case Done() as done:
                self._handle_done(done)
            case None:
                self._malformed += 1

    def _handle_hello(self, hello: Hello) -> None:
        if hello.epoch != self._epoch:
            self._epoch = hello.epoch
            self._start_session()
        elif hello.session == self._session and not (hello.in_step and hello.acks == self._acks):
            self._start_session()

    def _start_session(self) -> None:
        self._session = _draw_token()
        self._serial = self._acks = 0
        self._unsent = deque(self._open)

    def _handle_done(self, done: Done) -> None:
        self._acks += done.session == self._session
        for key in done.keys:
            self._open.pop(key, None)
            self._acknowledged.append(key)

    def take_acknowledged(self) -> list[Key]:
        """Return the keys acknowledged since the last call, those sent before a restart included."""
        keys, self._acknowledged = self._acknowledged, []
        return keys

    def statistics(self) -> LinkStatistics:
        """The counters so far."""
        return LinkStatistics(
            items=self._items,
            waiting=len(self._unsent),
            unacknowledged=len(self._open),
            resent=self._resent,
            malformed=self._malformed,
        )


@dataclass(slots=True)
class _Sender:
    session: bytes
    expected: int = 0
    acks: int = 0


class HopReceiver:
    """The receiver's side of a hop, for any number of senders.

    :meth:`take_replies` returns its messages, as (sender, parts).
    """

    def __init__(self, leaky: Leaky = "no", max_items: int = 1, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._epoch = _draw_token()
        self._now_ns = now_ns
        self._senders: dict[bytes, _Sender] = {}
        self._last: dict[str, int] = {}
        self._open: dict[Key, bytes] = {}
        self._queue = DeliveryQueue(leaky, max_items)
        self._replies: list[tuple[bytes, Parts]] = []
        self._dropped: list[Key] = []
        self._items = self._drops = self._duplicates = self._malformed = 0

    @property
    def has_items(self) -> bool:
        """True if :meth:`take` returns items."""
        return bool(self._queue)

    def has_enough(self, max_items: int) -> bool:
        """True if no more need to be read now; a leaky queue must read everything, to know which items are late."""
        return 0 < max_items <= len(self._queue) and self._queue.leaky == "no"

    def handle(self, sender: bytes, parts: Parts) -> None:
        """Handle a message of a sender; a malformed one is counted and dropped."""
        match decode(receiver_decoder, parts):
            case Data() as data:
                self._handle_data(sender, data, tuple(parts[1:]))
            case Ping() as ping:
                self._reply(sender, ping.session, self._is_in_step(sender, ping.epoch, ping.session, ping.next_serial))
            case None:
                self._malformed += 1

    def _handle_data(self, sender: bytes, data: Data, buffers: tuple[bytes | memoryview, ...]) -> None:
        if data.camera not in self._last and len(self._last) >= MAX_CAMERAS:
            self._malformed += 1
        elif self._is_in_step(sender, data.epoch, data.session, data.serial):
            self._senders[sender].expected += 1
            self._handle_item(sender, (data.camera, data.seq), buffers)
        else:
            self._reply(sender, data.session, in_step=False)

    def _is_in_step(self, sender: bytes, epoch: bytes, session: bytes, serial: int) -> bool:
        """True if no message was lost; registers a session that starts."""
        if epoch != self._epoch:
            return False
        known = self._senders.get(sender)
        if known is None or known.session != session:
            known = self._register(sender, session) if serial == 0 else None
        return known is not None and known.expected == serial

    def _register(self, sender: bytes, session: bytes) -> _Sender | None:
        if sender not in self._senders and len(self._senders) >= MAX_SENDERS:
            self._malformed += 1
            return None
        self._senders[sender] = _Sender(session)
        return self._senders[sender]

    def _reply(self, sender: bytes, session: bytes, in_step: bool) -> None:
        acks = self._senders[sender].acks if in_step else 0
        self._replies.append((sender, [encode(Hello(self._epoch, session, in_step, acks))]))

    def _handle_item(self, sender: bytes, key: Key, buffers: tuple[bytes | memoryview, ...]) -> None:
        camera, seq = key
        if seq > self._last.get(camera, -1):
            self._accept(sender, key, buffers)
            return
        self._duplicates += 1
        if key in self._open:
            self._open[key] = sender  # acknowledge it to the restarted sender
        else:
            self._send_done(sender, key)

    def _accept(self, sender: bytes, key: Key, buffers: tuple[bytes | memoryview, ...]) -> None:
        self._last[key[0]] = key[1]
        self._open[key] = sender
        self._items += 1
        if dropped := self._queue.put(Delivery(key, buffers, self._now_ns())):
            self._drops += 1
            self._dropped.append(dropped)
            self.acknowledge(dropped)

    def acknowledge(self, key: Key) -> None:
        """Acknowledge an item to its sender; idempotent."""
        sender = self._open.pop(key, None)
        if sender is not None:
            self._send_done(sender, key)

    def _send_done(self, sender: bytes, key: Key) -> None:
        known = self._senders.get(sender)
        if known is not None:
            known.acks += 1
            self._replies.append((sender, [encode(Done(known.session, [key]))]))

    def take(self, max_items: int) -> list[Delivery]:
        """Take the oldest waiting items."""
        return self._queue.take(max_items)

    def take_replies(self) -> list[tuple[bytes, Parts]]:
        """Return the messages to send, with their receivers, in order."""
        replies, self._replies = self._replies, []
        return replies

    def take_dropped(self) -> list[Key]:
        """Return the keys dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def statistics(self) -> LinkStatistics:
        """The counters so far."""
        return LinkStatistics(
            items=self._items,
            waiting=len(self._queue),
            unacknowledged=len(self._open),
            dropped=self._drops,
            duplicates=self._duplicates,
            malformed=self._malformed,
        )


def _size(buffer: bytes | memoryview) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
